"""Estimates the time and memory of adapting a base: the cost of a training step, plus the LM head."""

from __future__ import annotations

import math
from collections.abc import Sequence

from poolwise.base_dtypes import HeldDtype
from poolwise.config import Recipe, TrainConfig
from poolwise.jobs import Job
from poolwise.ranks import visible_gpus

STEP_PER_FORWARD = 3.5
"""Time of a training step relative to a forward pass of the same tokens: the backward pass adds two, the optimiser
the rest."""
ACTIVATION_BYTES = 40
"""Bytes kept for the backward pass per token, layer and hidden unit, measured on the embedded base in bf16."""
LIBRARIES_GIB = 1.0
_GATHERED_LAYERS = 2
"""Layers whose weights are whole at a time, if processes share the weights out: the one that runs and the next one."""
_LOGIT_BYTES = 12
"""A logit, its softmax and its gradient, in fp32."""


def adaptation_seconds(recipe: Recipe, base: str, texts_per_second: float) -> float:
    """Return the seconds that an adaptation takes, from the base's speed in texts per second.

    The cost of the LM head relative to the base is their ratio of parameters, for the masked share of the tokens.
    """
    from poolwise.models import base_shape, vocabulary_size

    assert recipe.adapt is not None
    num_layers, dim = base_shape(base)
    head = 1 + recipe.adapt.mask_share * vocabulary_size(base) / (12 * num_layers * dim)
    seconds = STEP_PER_FORWARD * head * recipe.adapt.batch_size / texts_per_second * recipe.adapt.steps
    return seconds / num_devices(recipe.train)


def num_devices(train: TrainConfig) -> int:
    """Return how many devices of this machine share a training: one per process, but a CPU is one device for all."""
    return train.processes if visible_gpus() else 1


def rows_at_once(train: TrainConfig) -> int:
    """Return how many rows of a batch one process embeds at a time."""
    return min(math.ceil(train.batch_size / train.processes), train.mini_batch_size)


def bytes_held(train: TrainConfig, whole: float, num_layer: float) -> float:
    """Return the bytes of weights and optimiser that one process holds of ``whole``.

    Args:
        num_layer: the parameters of one decoder layer.
    """
    return whole / train.processes + _GATHERED_LAYERS * 4 * num_layer if train.shard else whole


def weight_bytes(recipe: Recipe, dtype: HeldDtype) -> float:
    """Return the bytes that training needs per weight of the base.

    Trained weights have a gradient and two moments. Frozen ones are there once, and those in fp32 also in bf16 where
    products are bf16.
    """
    return 16 if recipe.train.method == "full" else {"fp32": 6, "bf16": 2, "nf4": 0.6}[dtype]


def adaptation_memory(recipe: Recipe, base: str, jobs: Sequence[Job], dtype: HeldDtype) -> float:
    """Return the peak memory in GiB of the adaptation among these jobs; 0 if there is none."""
    if recipe.adapt is None or not any(job.kind == "adapt" for job in jobs):
        return 0.0
    from poolwise.models import base_shape, vocabulary_size

    (num_layers, dim), vocabulary = base_shape(base), vocabulary_size(base)
    tokens = math.ceil(recipe.adapt.batch_size / recipe.train.processes) * recipe.adapt.max_tokens
    kept = tokens * (num_layers * dim * ACTIVATION_BYTES + recipe.adapt.mask_share * vocabulary * _LOGIT_BYTES)
    weights = (12 * num_layers * dim**2 + vocabulary * dim) * weight_bytes(recipe, dtype)
    return (kept + weights) / 2**30 + LIBRARIES_GIB
