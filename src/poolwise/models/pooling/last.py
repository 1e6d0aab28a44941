"""``last``: the state of the last token, which is EOS."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from poolwise.kernels.reduction import last_token, reduction_weights
from poolwise.models.pooling.base import Pooling, TokensRead, WeightsKind


class LastPooling(Pooling):
    """The last layer's state of the last token. Source: arXiv:2409.02727, design 1."""

    @property
    def tokens_read(self) -> TokensRead:
        """The last token."""
        return "last"

    @property
    def weights_kind(self) -> WeightsKind:
        """Exact."""
        return "exact"

    def token_weights(self, features: dict[str, Any]) -> Float[Tensor, "B T"]:
        """Return 1 at the last token."""
        return reduction_weights(features["pooling_mask"].bool(), "last")

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the state of EOS."""
        return last_token(features["token_embeddings"], features["pooling_mask"])
