"""``multilayer``: trained latents attend to one state per layer."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from poolwise.design import Design
from poolwise.kernels.reduction import normalise, select_layers
from poolwise.layer_subsets import LayerSubset
from poolwise.models.pooling.base import Pooling, WeightsKind
from poolwise.models.pooling.cross_attention import SMALL_STD, CrossAttention, HeadSize, Start, head_size


class MultilayerPooling(Pooling):
    """The paper's Multi-Layers Trainable Pooling: latents attend to one state per layer plus a layer embedding.

    Each layer's state is normalised before the layer embedding is added. Otherwise, because the norms of layers differ
    so much, either the embedding or the state would be negligible.

    Args:
        num_layers: number of layers of the base.
        subset: the layers that are pooled, in the notation of ``LayerSubset``; each has its own embedding.
        input: "normalised", or "raw" for states as the base gives them, which is how the paper's weights were trained.
    Source: arXiv:2409.02727, designs 3 and 5.
    """

    config_keys = ("dim", "num_layers", "latents", "heads", "head_dim", "init", "layer_embedding", "subset", "input")

    def __init__(
        self,
        dim: int,
        num_layers: int,
        latents: int,
        heads: int,
        head_dim: int,
        init: Start = "mean",
        layer_embedding: bool = True,
        subset: str = "all",
        input: Literal["normalised", "raw"] = "normalised",
    ) -> None:
        super().__init__(dim)
        self.num_layers, self.latents, self.heads, self.head_dim = num_layers, latents, heads, head_dim
        self.init, self.layer_embedding, self.subset = init, layer_embedding, subset
        self.input = input
        self.head = CrossAttention(dim, HeadSize(latents, heads, head_dim), init)
        std = SMALL_STD if init == "mean" else 1.0
        num_read = len(LayerSubset(subset).numbers(num_layers))
        self.layers = nn.Parameter(torch.randn(num_read, dim) * std) if layer_embedding else None

    @classmethod
    def from_design(cls, design: Design, dim: int, num_layers: int) -> MultilayerPooling:
        """Return the pooling with the head size of the design."""
        size = head_size(design, dim)
        return cls(
            dim,
            num_layers,
            size.latents,
            size.heads,
            size.head_dim,
            init=design.option("init"),  # type: ignore[arg-type]
            layer_embedding=bool(design.option("layer_embedding")),
            subset=str(design.option("layers")),
            input=design.option("input"),  # type: ignore[arg-type]
        )

    def states(self, features: dict[str, Any]) -> Float[Tensor, "B S D"]:
        """Return the state of each of the subset's layers, normalised or raw, plus its layer embedding."""
        states = select_layers(features["layer_embeddings"], self.subset)
        states = states if self.input == "raw" else normalise(states)
        return states if self.layers is None else states + self.layers

    @property
    def weights_kind(self) -> WeightsKind:
        """Attention."""
        return "attention"

    def layer_weights(self, features: dict[str, Any]) -> Float[Tensor, "B S"]:
        """Return the attention to each of the subset's layers, averaged over latents and heads."""
        states = self.states(features)
        mask = torch.ones_like(states[..., 0], dtype=torch.bool)
        return self.head.attention(self.head.keys(states, mask), mask).mean(dim=(1, 2))

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the mean over latents after they attended to the layers."""
        states = self.states(features)
        return self.head(states, torch.ones_like(states[..., 0], dtype=torch.bool))
