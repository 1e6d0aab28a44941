"""``mean``: the mean over tokens."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from poolwise.kernels.reduction import mean_tokens, reduction_weights
from poolwise.models.pooling.base import Pooling, TokensRead, WeightsKind


class MeanPooling(Pooling):
    """The mean over the tokens of the last layer."""

    @property
    def tokens_read(self) -> TokensRead:
        """The mean."""
        return "mean"

    @property
    def weights_kind(self) -> WeightsKind:
        """Exact."""
        return "exact"

    def token_weights(self, features: dict[str, Any]) -> Float[Tensor, "B T"]:
        """Return the same weight for every pooled token."""
        return reduction_weights(features["pooling_mask"].bool(), "mean")

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the mean state of the pooled tokens."""
        return mean_tokens(features["token_embeddings"], features["pooling_mask"])
