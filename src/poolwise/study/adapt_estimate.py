"""Estimates the time and memory of adapting a base: the cost of a training step, plus the LM head."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.base_dtypes import HeldDtype
from poolwise.config import Recipe
from poolwise.jobs import Job

STEP_PER_FORWARD = 3.5
"""Time of a training step relative to a forward pass of the same tokens: the backward pass adds two, the optimiser
the rest."""
ACTIVATION_BYTES = 40
"""Bytes kept for the backward pass per token, layer and hidden unit, measured on the embedded base in bf16."""
LIBRARIES_GIB = 1.0
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
    return STEP_PER_FORWARD * head * recipe.adapt.batch_size / texts_per_second * recipe.adapt.steps


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
    tokens = recipe.adapt.batch_size * recipe.adapt.max_tokens
    kept = tokens * (num_layers * dim * ACTIVATION_BYTES + recipe.adapt.mask_share * vocabulary * _LOGIT_BYTES)
    weights = (12 * num_layers * dim**2 + vocabulary * dim) * weight_bytes(recipe, dtype)
    return (kept + weights) / 2**30 + LIBRARIES_GIB
