"""``weighted_mean``: the mean over tokens with weights that grow with the position."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from poolwise.kernels.reduction import reduction_weights, weighted_mean_tokens
from poolwise.models.pooling.base import Pooling, TokensRead, WeightsKind


class WeightedMeanPooling(Pooling):
    """The mean over the tokens of the last layer with weights 1, 2, 3 ... by position."""

    @property
    def tokens_read(self) -> TokensRead:
        """The position-weighted mean."""
        return "weighted_mean"

    @property
    def weights_kind(self) -> WeightsKind:
        """Exact."""
        return "exact"

    def token_weights(self, features: dict[str, Any]) -> Float[Tensor, "B T"]:
        """Return weights in proportion to the positions."""
        return reduction_weights(features["pooling_mask"].bool(), "weighted_mean")

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the position-weighted mean state of the pooled tokens."""
        return weighted_mean_tokens(features["token_embeddings"], features["pooling_mask"])
