"""``last``: the state of the last token, which is EOS."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from poolwise.kernels.reduction import last_token
from poolwise.models.pooling.base import Pooling, TokensRead


class LastPooling(Pooling):
    """The last layer's state of the last token. Source: arXiv:2409.02727, design 1."""

    @property
    def tokens_read(self) -> TokensRead:
        """The last token."""
        return "last"

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the state of EOS."""
        return last_token(features["token_embeddings"], features["pooling_mask"])
