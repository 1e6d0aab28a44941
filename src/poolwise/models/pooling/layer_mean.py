"""``layer_mean``: the uniform mean over layers."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from poolwise.design import Design
from poolwise.kernels.reduction import normalise, select_layers, widen
from poolwise.models.pooling.base import Pooling, WeightsKind


class LayerMeanPooling(Pooling):
    """The uniform mean over the normalised states of layers 1 .. L, or of a subset of them."""

    config_keys = ("dim", "subset")

    def __init__(self, dim: int, subset: str = "all") -> None:
        super().__init__(dim)
        self.subset = subset

    @classmethod
    def from_design(cls, design: Design, dim: int, num_layers: int) -> LayerMeanPooling:
        """Return the pooling of the design's layers."""
        return cls(dim, str(design.option("layers")))

    @property
    def weights_kind(self) -> WeightsKind:
        """Exact, for the normalised states."""
        return "exact"

    def layer_weights(self, features: dict[str, Any]) -> Float[Tensor, "B S"]:
        """Return the same weight for each of the subset's layers."""
        states = select_layers(features["layer_embeddings"], self.subset)
        return torch.full_like(widen(states[..., 0]), 1 / states.shape[1])

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the mean over layers."""
        return normalise(select_layers(features["layer_embeddings"], self.subset)).mean(dim=1)
