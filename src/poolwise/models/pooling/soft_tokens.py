"""``soft_tokens``: trained tokens at the end of every text, and the state of the last of them, or the mean over them.

The backbone appends K tokens after EOS. The embedding of each is that of EOS plus a trained difference. Under causal
attention each of them sees the whole text, EOS and the ones before it.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from poolwise.design import Design
from poolwise.kernels.reduction import reduce_tokens, reduction_weights
from poolwise.models.pooling.base import Pooling, TokensRead, WeightsKind
from poolwise.models.pooling.cross_attention import SMALL_STD


class SoftTokensPooling(Pooling):
    """The last layer's state of the last appended token, or the mean over the appended tokens.

    It owns the trained differences (K D) and lends them to the backbone, which reads texts with them.

    Args:
        count: K, the number of tokens.
        tokens: "last" or "mean".
    Source: learned tokens at the end of a text: LLM2Vec-Gen, arXiv:2603.10913; soft prompts: arXiv:2104.08691.
    """

    config_keys = ("dim", "count", "tokens")

    def __init__(self, dim: int, count: int, tokens: Literal["last", "mean"]) -> None:
        super().__init__(dim)
        self.count, self.tokens = count, tokens
        # Small, so that training starts from what the base makes of EOS; not zero, so that the tokens differ.
        self.soft = nn.Parameter(torch.randn(count, dim) * SMALL_STD)

    @classmethod
    def from_design(cls, design: Design, dim: int, num_layers: int) -> SoftTokensPooling:
        """Return the pooling with the number of tokens of the design."""
        return cls(dim, design.num_soft_tokens, design.option("tokens"))  # type: ignore[arg-type]

    @property
    def tokens_read(self) -> TokensRead:
        """The last token or the mean, according to the option ``tokens``."""
        return self.tokens

    def on_model_ready(self, model: SentenceTransformer) -> None:
        """Take over the precision of the backbone, and lend it the trained differences."""
        super().on_model_ready(model)
        model[0].lend_soft_tokens(self.soft)

    @property
    def weights_kind(self) -> WeightsKind:
        """Exact."""
        return "exact"

    def token_weights(self, features: dict[str, Any]) -> Float[Tensor, "B T"]:
        """Return 1 at the last appended token, or the same weight for each of them."""
        return reduction_weights(features["pooling_mask"].bool(), self.tokens)

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the state of the last appended token, or the mean over the appended tokens."""
        return reduce_tokens(features["token_embeddings"], features["pooling_mask"], self.tokens)
