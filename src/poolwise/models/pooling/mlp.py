"""``mlp``, the control for capacity: as many parameters as ``multilayer``, but no access to layers or other tokens."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from poolwise.design import Design
from poolwise.kernels.reduction import normalise, reduce_tokens, widen
from poolwise.models.pooling.base import Pooling, TokensRead
from poolwise.models.pooling.multilayer import MultilayerPooling


class MlpPooling(Pooling):
    """The last token or the mean of the last layer, passed through one hidden layer with a residual.

    It starts as the normalised state itself, as ``multilayer`` starts as the mean of its normalised states.

    Args:
        width: number of hidden units.
        tokens: "last" or "mean".
    """

    config_keys = ("dim", "width", "tokens")

    def __init__(self, dim: int, width: int, tokens: Literal["last", "mean"]) -> None:
        super().__init__(dim)
        self.width, self.tokens = width, tokens
        self.up = nn.Linear(dim, width)
        self.down = nn.Linear(width, dim)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    @classmethod
    def from_design(cls, design: Design, dim: int, num_layers: int) -> MlpPooling:
        """Return the pooling with the number of parameters closest to that of ``multilayer`` on the same base."""
        size = (("size", design.option("size")),)
        with torch.device("meta"):
            multilayer = MultilayerPooling.from_design(
                Design("multilayer", design.attention, size),  # type: ignore[arg-type]
                dim,
                num_layers,
            )
        wanted = sum(weight.numel() for weight in multilayer.parameters())
        # The number of parameters is width * (2 dim + 1) + dim.
        width = max(1, round((wanted - dim) / (2 * dim + 1)))
        return cls(dim, width, design.option("tokens"))  # type: ignore[arg-type]

    @property
    def tokens_read(self) -> TokensRead:
        """The last token or the mean, according to the option ``tokens``."""
        return self.tokens

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the state plus the output of the hidden layer."""
        state = normalise(reduce_tokens(features["token_embeddings"], features["pooling_mask"], self.tokens))
        return state + widen(self.down(functional.gelu(self.up(state))))
