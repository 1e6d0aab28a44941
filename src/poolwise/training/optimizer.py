"""Optimiser and learning rates: base and head have their own rates and share one linear schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from poolwise.config import TrainConfig
from poolwise.models import head_parameters


def parameter_groups(model: SentenceTransformer, config: TrainConfig) -> list[dict[str, Any]]:
    """Return the optimiser's groups, each with "base" or "head" as ``part``.

    Weight decay applies to matrices, not to vectors (norms, biases, mixing weights). Frozen parameters are left out.
    """
    in_head = {id(parameter) for parameter in head_parameters(model)}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = []
    for part, rate in (("base", config.learning_rate), ("head", config.head_learning_rate)):
        own = [parameter for parameter in trained if (id(parameter) in in_head) == (part == "head")]
        matrices = [parameter for parameter in own if parameter.ndim >= 2]
        vectors = [parameter for parameter in own if parameter.ndim < 2]
        groups.append({"params": matrices, "lr": rate, "weight_decay": config.weight_decay, "part": part})
        groups.append({"params": vectors, "lr": rate, "weight_decay": 0.0, "part": part})
    return [group for group in groups if group["params"]]


def build_optimizer(model: SentenceTransformer, config: TrainConfig) -> Optimizer:
    """Return AdamW over all trainable parameters, in its fused form if the device supports it."""
    fused = model.device.type in ("cpu", "cuda")
    return AdamW(parameter_groups(model, config), lr=config.learning_rate, fused=fused)


def build_scheduler(optimizer: Optimizer, config: TrainConfig) -> LambdaLR:
    """Return the schedule of all learning rates over ``config.steps``."""
    warmup = math.ceil(config.steps * config.warmup_ratio)
    return LambdaLR(optimizer, lambda step: linear_factor(step, config.steps, warmup))


def linear_factor(step: int, steps: int, warmup: int) -> float:
    """Return the fraction of the peak learning rate at ``step`` (from 0): up over ``warmup`` steps, then down.

    The usual schedule starts at rate 0, so the first step has no effect, which matters in runs of a few dozen steps.
    Here no step has rate 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup))


def learning_rates(optimizer: Optimizer) -> tuple[float, float | None]:
    """Return the learning rates of the base (0 if it is frozen) and of the head (None if it has no parameters)."""
    rates = {group["part"]: float(group["lr"]) for group in optimizer.param_groups}
    return rates.get("base", 0.0), rates.get("head")


def trainable_parameters(model: SentenceTransformer) -> dict[str, torch.nn.Parameter]:
    """Return the trainable parameters by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
