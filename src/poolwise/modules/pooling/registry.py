"""Pooling names and the classes behind them."""

from __future__ import annotations

from collections.abc import Mapping

from poolwise.design import Design
from poolwise.modules.pooling.base import Pooling
from poolwise.modules.pooling.last import LastPooling
from poolwise.modules.pooling.latent import LatentPooling
from poolwise.modules.pooling.layer_mean import LayerMeanPooling
from poolwise.modules.pooling.layer_mix import LayerMixPooling
from poolwise.modules.pooling.mean import MeanPooling
from poolwise.modules.pooling.mlp import MlpPooling
from poolwise.modules.pooling.multilayer import MultilayerPooling
from poolwise.modules.pooling.nv_latent import NvLatentPooling
from poolwise.modules.pooling.weighted_mean import WeightedMeanPooling

POOLING_CLASSES: Mapping[str, type[Pooling]] = {
    "last": LastPooling,
    "mean": MeanPooling,
    "weighted_mean": WeightedMeanPooling,
    "layer_mean": LayerMeanPooling,
    "layer_mix": LayerMixPooling,
    "latent": LatentPooling,
    "nv_latent": NvLatentPooling,
    "multilayer": MultilayerPooling,
    "mlp": MlpPooling,
}


def build_pooling(design: Design, dim: int, num_layers: int) -> Pooling:
    """Return the pooling of a design, freshly initialised from the current random state.

    Args:
        dim: hidden size of the base.
        num_layers: decoder layers of the base.
    """
    return POOLING_CLASSES[design.pooling].from_design(design, dim, num_layers)
