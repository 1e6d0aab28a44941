"""The uniform mean over layers."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from poolwise.modules.pooling.base import Pooling
from poolwise.modules.reduction import normalise


class LayerMeanPooling(Pooling):
    """The uniform mean over layers 1 .. L of their normalised states."""

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the mean over layers."""
        return normalise(features["layer_embeddings"]).mean(dim=1)
