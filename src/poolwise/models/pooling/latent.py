"""``latent``: trained latents attend to the tokens of the last layer."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from poolwise.design import Design
from poolwise.kernels.reduction import last_token, reduction_weights
from poolwise.models.pooling.base import Pooling, TokensRead, WeightsKind
from poolwise.models.pooling.cross_attention import CrossAttention, HeadSize, Start, head_size


class LatentPooling(Pooling):
    """The paper's last-layer trainable pooling.

    With ``keys="last"`` there is one key, so the softmax is 1 and queries and keys never train: design 2 as published.

    Args:
        keys: "all" real tokens, or only the "last".
    Source: arXiv:2409.02727, designs 2 and 4. The reference code attends to padding; here it is masked.
    """

    config_keys = ("dim", "latents", "heads", "head_dim", "init", "keys")

    def __init__(
        self,
        dim: int,
        latents: int,
        heads: int,
        head_dim: int,
        init: Start = "mean",
        keys: Literal["all", "last"] = "all",
    ) -> None:
        super().__init__(dim)
        self.latents, self.heads, self.head_dim = latents, heads, head_dim
        self.init, self.keys = init, keys
        self.head = CrossAttention(dim, HeadSize(latents, heads, head_dim), init)

    @classmethod
    def from_design(cls, design: Design, dim: int, num_layers: int) -> LatentPooling:
        """Return the pooling with the head size of the design."""
        size = head_size(design, dim)
        return cls(
            dim,
            size.latents,
            size.heads,
            size.head_dim,
            init=design.option("init"),  # type: ignore[arg-type]
            keys=design.option("keys"),  # type: ignore[arg-type]
        )

    @property
    def tokens_read(self) -> TokensRead:
        """All tokens, or the last one where it is the only key."""
        return self.keys

    @property
    def weights_kind(self) -> WeightsKind:
        """Attention; with one key it is 1."""
        return "attention"

    def token_weights(self, features: dict[str, Any]) -> Float[Tensor, "B T"]:
        """Return the attention to each token, averaged over latents and heads; 1 at the last one if it is the key."""
        states, mask = features["token_embeddings"], features["pooling_mask"].bool()
        if self.keys == "last":
            return reduction_weights(mask, "last")
        return self.head.attention(self.head.keys(states, mask), mask).mean(dim=(1, 2))

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the mean over latents after they attended to the tokens."""
        states, mask = features["token_embeddings"], features["pooling_mask"]
        if self.keys == "last":
            states = last_token(states, mask)[:, None]
            mask = torch.ones_like(states[..., 0], dtype=torch.bool)
        return self.head(states, mask)
