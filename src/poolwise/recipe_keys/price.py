"""The keys of a recipe about prices, and the GPUs that have one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from poolwise.recipe_keys.section import Section


@dataclass(frozen=True)
class Gpu:
    """A GPU's peak in dense bf16 products, in TFLOP/s, and its memory, from its maker's data sheet."""

    name: str
    tflops: float
    memory_gib: int


GPUS: Mapping[str, Gpu] = {
    "h200": Gpu("H200", 989, 131),
    "h100": Gpu("H100 SXM", 989, 75),
    "a100": Gpu("A100 80 GB", 312, 75),
    "l40s": Gpu("L40S", 362, 45),
    "rtx4090": Gpu("RTX 4090", 165, 22),
}


class PriceConfig(Section):
    """With it, ``poolwise study --dry-run`` computes hours, memory and disk from sizes, without base, data or network.

    It changes nothing else.
    """

    base_config: str | None = Field(
        default=None, description="a config.json with the architecture of the base; null reads that of `base`"
    )
    gpu: Literal["h200", "h100", "a100", "l40s", "rtx4090"] = Field(
        default="h100", description="the GPU, one for each process of a training"
    )
    utilisation: float = Field(
        default=0.35, gt=0, le=1, description="share of the GPU's peak in bf16 that training and encoding reach"
    )
    train_tokens: int | None = Field(
        default=None,
        ge=1,
        description="mean tokens of a training text; null is train.max_tokens, the most there can be",
    )
    texts_per_row: int = Field(default=3, ge=2, description="texts of a training row: query, positive, negatives")
    chars_per_token: float = Field(default=4.0, gt=0, description="to convert the lengths of the tasks' texts")
