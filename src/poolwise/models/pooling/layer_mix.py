"""``layer_mix``: a weighted mean over layers with trained weights."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from poolwise.design import Design
from poolwise.kernels.reduction import normalise, select_layers
from poolwise.layer_subsets import LayerSubset
from poolwise.models.pooling.base import Pooling, WeightsKind


class LayerMixPooling(Pooling):
    """A softmax-weighted mean over the normalised states of layers 1 .. L, or of a subset; it starts uniform.

    Source: ELMo, arXiv:1802.05365, equation 1, without its global scale, which does not change the cosine.
    """

    config_keys = ("dim", "num_layers", "subset")

    def __init__(self, dim: int, num_layers: int, subset: str = "all") -> None:
        super().__init__(dim)
        self.num_layers, self.subset = num_layers, subset
        self.logits = nn.Parameter(torch.zeros(len(LayerSubset(subset).numbers(num_layers))))

    @classmethod
    def from_design(cls, design: Design, dim: int, num_layers: int) -> LayerMixPooling:
        """Return the pooling of the design's layers, out of ``num_layers``."""
        return cls(dim, num_layers, str(design.option("layers")))

    def weights(self) -> Float[Tensor, " S"]:
        """Return the weight of each of the subset's layers; the weights sum to 1."""
        return self.logits.softmax(dim=0)

    @property
    def weights_kind(self) -> WeightsKind:
        """Exact, for the normalised states."""
        return "exact"

    def layer_weights(self, features: dict[str, Any]) -> Float[Tensor, "B S"]:
        """Return the trained weight of each of the subset's layers, the same for every text."""
        return self.weights().expand(len(features["layer_embeddings"]), -1)

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the weighted mean over layers."""
        states = normalise(select_layers(features["layer_embeddings"], self.subset))
        return torch.einsum("l,bld->bd", self.weights(), states)
