"""What is trained how fast: the head has its own learning rate, both follow one linear schedule."""

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
    """Return the optimiser's groups, each named "base" or "head" under ``part``.

    Matrices decay, vectors (norms, biases, mixing weights) do not. Frozen parameters are in no group.
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
    """Return AdamW over everything trainable, in its one-kernel form where the device has that."""
    fused = model.device.type in ("cpu", "cuda")
    return AdamW(parameter_groups(model, config), lr=config.learning_rate, fused=fused)


def build_scheduler(optimizer: Optimizer, config: TrainConfig) -> LambdaLR:
    """Return the schedule of all learning rates over ``config.steps``."""
    warmup = math.ceil(config.steps * config.warmup_ratio)
    return LambdaLR(optimizer, lambda step: linear_factor(step, config.steps, warmup))


def linear_factor(step: int, steps: int, warmup: int) -> float:
    """Return the part of the peak learning rate at ``step``, counted from 0: up over ``warmup`` steps, then down.

    The usual schedule starts at 0, which makes the first step change nothing; in a run of some dozens of steps
    that is noticeable. Here no step of the run has rate 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup))


def learning_rates(optimizer: Optimizer) -> tuple[float, float | None]:
    """Return the rates of the base (0 where it is frozen) and of the head (None where it has no parameters)."""
    rates = {group["part"]: float(group["lr"]) for group in optimizer.param_groups}
    return rates.get("base", 0.0), rates.get("head")


def trainable_parameters(model: SentenceTransformer) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that training changes, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
