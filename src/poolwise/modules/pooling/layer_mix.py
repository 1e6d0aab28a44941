"""A learned mean over layers."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from poolwise.design import Design
from poolwise.modules.pooling.base import Pooling
from poolwise.modules.reduction import normalise


class LayerMixPooling(Pooling):
    """A softmax-weighted mean over layers 1 .. L of their normalised states, uniform at the start.

    Source: ELMo, arXiv:1802.05365, equation 1, without its global scale, which the cosine ignores.
    """

    config_keys = ("dim", "num_layers")

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__(dim)
        self.num_layers = num_layers
        self.logits = nn.Parameter(torch.zeros(num_layers))

    @classmethod
    def from_design(cls, design: Design, dim: int, num_layers: int) -> LayerMixPooling:
        """Return the pooling for ``num_layers`` layers."""
        return cls(dim, num_layers)

    def weights(self) -> Float[Tensor, " L"]:
        """Return the share of each layer; they sum to 1."""
        return self.logits.softmax(dim=0)

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the weighted mean over layers."""
        return torch.einsum("l,bld->bd", self.weights(), normalise(features["layer_embeddings"]))
