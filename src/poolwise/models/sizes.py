"""Sizes of a base and of heads, from configurations alone: no weights are read or allocated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from poolwise.design import Design
from poolwise.errors import ConfigError, one_line
from poolwise.kernels.layers import decoder_layers
from poolwise.models.pooling import build_pooling
from poolwise.models.pooling.cross_attention import head_size
from poolwise.storage.json_text import load_json
from poolwise.upstream.transformers import Conv1D


@dataclass(frozen=True)
class BaseSizes:
    """Counts of parameters and the shape of a base.

    Args:
        num_parameters: of the base without LM head.
        num_decoder: of its decoder layers, which every token passes.
        num_lora: of an adapter of rank 1 on all their linear layers.
    """

    num_parameters: int
    num_decoder: int
    num_lora: int
    num_layers: int
    dim: int


def read_config(path: Path) -> Any:
    """Return the transformers configuration in a ``config.json``.

    Raises: ConfigError where it cannot be read or is of an unknown architecture.
    """
    try:
        settings = load_json(path)
        return AutoConfig.for_model(**settings).get_text_config()
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = one_line(error)
        raise ConfigError(
            f"price.base_config: cannot read {path}: {reason}", "wanted the config.json of a base"
        ) from error


def base_sizes(config: Any) -> BaseSizes:
    """Return the sizes of the base that a configuration describes."""
    with torch.device("meta"):
        model = AutoModel.from_config(config, trust_remote_code=False)
    layers = decoder_layers(model)
    shapes = [m.weight.shape for m in layers.modules() if isinstance(m, nn.Linear | Conv1D)]
    return BaseSizes(
        num_parameters=sum(weight.numel() for weight in model.parameters()),
        num_decoder=sum(weight.numel() for weight in layers.parameters()),
        num_lora=sum(sum(shape) for shape in shapes),
        num_layers=int(config.num_hidden_layers),
        dim=int(config.hidden_size),
    )


def count_head(design: Design, sizes: BaseSizes) -> int:
    """Return the number of parameters of a design's pooling."""
    with torch.device("meta"):
        pooling = build_pooling(design, sizes.dim, sizes.num_layers)
    return sum(weight.numel() for weight in pooling.parameters())


def head_flops(design: Design, sizes: BaseSizes, num_tokens: int | float) -> float:
    """Return the floating-point operations of a design's pooling for one text; a multiplication and addition are two.

    Heads with latents are counted as they are computed here (``pooling.cross_attention``); of others, two operations
    per parameter.
    """
    if design.pooling not in ("latent", "multilayer"):
        return 2.0 * count_head(design, sizes)
    size, dim = head_size(design, sizes.dim), sizes.dim
    keys = sizes.num_layers if design.pooling == "multilayer" else 1 if design.option("keys") == "last" else num_tokens
    projections = keys * 4 * 2 * dim * size.inner  # Wk, Wv, and Wq and Wo moved to the side of the keys
    scores = 2 * 2 * size.latents * keys * dim * size.heads
    feed_forward = 2 * size.latents * dim * 8 * dim
    return float(projections + scores + feed_forward)
