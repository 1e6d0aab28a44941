"""The class of each pooling, by name."""

from __future__ import annotations

from collections.abc import Mapping

from poolwise.design import Design
from poolwise.models.pooling.base import Pooling
from poolwise.models.pooling.landmark import LandmarkPooling
from poolwise.models.pooling.last import LastPooling
from poolwise.models.pooling.latent import LatentPooling
from poolwise.models.pooling.layer_mean import LayerMeanPooling
from poolwise.models.pooling.layer_mix import LayerMixPooling
from poolwise.models.pooling.mean import MeanPooling
from poolwise.models.pooling.mlp import MlpPooling
from poolwise.models.pooling.multilayer import MultilayerPooling
from poolwise.models.pooling.nv_latent import NvLatentPooling
from poolwise.models.pooling.pma import PmaPooling
from poolwise.models.pooling.soft_tokens import SoftTokensPooling
from poolwise.models.pooling.weighted_mean import WeightedMeanPooling

POOLING_CLASSES: Mapping[str, type[Pooling]] = {
    "last": LastPooling,
    "mean": MeanPooling,
    "weighted_mean": WeightedMeanPooling,
    "layer_mean": LayerMeanPooling,
    "layer_mix": LayerMixPooling,
    "latent": LatentPooling,
    "nv_latent": NvLatentPooling,
    "pma": PmaPooling,
    "multilayer": MultilayerPooling,
    "soft_tokens": SoftTokensPooling,
    "landmark": LandmarkPooling,
    "mlp": MlpPooling,
}


def build_pooling(design: Design, dim: int, num_layers: int) -> Pooling:
    """Return the pooling of a design, newly initialised from the current random state.

    Args:
        dim: hidden size of the base.
        num_layers: number of decoder layers of the base.
    """
    pooling = POOLING_CLASSES[design.pooling].from_design(design, dim, num_layers)
    if design.width is not None and not pooling.has_own_width:
        pooling.project(design.width)  # drawn last, so that the pooling starts as it does without one
    return pooling
