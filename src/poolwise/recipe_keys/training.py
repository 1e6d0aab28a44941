"""The keys of a recipe about training: of every design, of its learning rate, and of the base before."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from poolwise.base_dtypes import Precision
from poolwise.recipe_keys.section import Section

Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow"]

MACHINE_KEYS = ("processes", "shard", "report_to")
"""The keys of ``train`` that fit a training to a machine. Runs that differ only in them are the same runs: no key of a
job and no hash depends on them."""


MOST_STEPS, MOST_ROWS, MOST_RANK = 10_000_000, 1_000_000, 65_536
"""Of steps, of rows in a batch, and of LoRA's rank: larger numbers could only be typing errors, and the plan of the
batches would fill the memory before any other check."""


class EarlyStopping(Section):
    """Looks at dev tasks during training; the weights of the best look are kept. Off if the section is absent.

    Every design may take the same looks, at the same steps and by the same rule. The trials of ``tune`` and a screen
    take none.
    """

    dev: list[str] = Field(
        min_length=1,
        description="tasks whose mean score decides; the study must not evaluate on them (`FOLDER@dev` is a dev split)",
    )
    every: int = Field(ge=1, description="steps between two looks; there is always one after the last step")
    patience: int | None = Field(
        default=None,
        ge=1,
        description="looks in a row without a better score that end a training; null ends none early, so that all "
        "designs take equally many looks",
    )

    @field_validator("dev", mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class TrainConfig(Section):
    """How every design is trained. Learning rates are peak values; the schedule is linear warm-up and linear decay."""

    steps: int = Field(
        default=200, ge=0, le=MOST_STEPS, description="optimiser steps; 0 evaluates the untrained design"
    )
    batch_size: int = Field(default=32, ge=2, le=MOST_ROWS, description="queries per step")
    mini_batch_size: int = Field(
        default=64, ge=1, description="queries per forward pass; uses GradCache if below batch_size"
    )
    learning_rate: float = Field(default=3e-4, gt=0, description="peak learning rate of LoRA or of the base")
    head_learning_rate: float = Field(default=1e-3, gt=0, description="peak learning rate of the pooling")
    max_tokens: int = Field(default=128, ge=4, description="longest text, EOS included; longer texts are truncated")
    temperature: float = Field(default=0.05, gt=0, description="InfoNCE divides cosine similarities by it")
    method: Literal["lora", "frozen", "full"] = Field(default="lora", description="how the base is trained")
    lora_rank: int = Field(default=16, ge=1, le=MOST_RANK, description="rank of LoRA, on all linear layers")
    lora_alpha: int = Field(default=32, ge=1, description="the update is scaled by alpha / rank")
    lora_dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout on the input of LoRA")
    warmup_ratio: float = Field(default=0.1, ge=0, le=1, description="share of the steps that warm up")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    gradient_checkpointing: bool = Field(default=False, description="less memory, one more forward pass")
    precision: Precision = Field(
        default="auto", description="of matrix products; trained weights stay fp32; auto is bf16 where bf16 is fast"
    )
    save_steps: int = Field(
        default=500, ge=1, description="steps between checkpoints, from which an interrupted run resumes"
    )
    processes: int = Field(
        default=1,
        ge=1,
        exclude_if=lambda count: count == 1,  # a recipe keeps the hash it had before this key existed
        description="processes that share each batch, one per GPU ([how](../how-to/several-gpus.md)); batch_size stays "
        "that of all together",
    )
    shard: bool = Field(
        default=False,
        exclude_if=lambda is_asked: not is_asked,  # as for processes
        description="each process holds a part of the weights, for bases that one GPU cannot hold "
        "([how](../how-to/several-gpus.md#weights-that-one-gpu-cannot-hold))",
    )
    matryoshka: list[int] = Field(
        default=[],
        exclude_if=lambda dimensions: not dimensions,  # as for processes
        description="also train the first N dimensions of every embedding, for each of these N; the full width is "
        "always trained too",
    )
    early_stopping: EarlyStopping | None = Field(default=None, exclude_if=lambda section: section is None)
    report_to: list[Tracker] = Field(
        default=[],
        exclude_if=lambda trackers: not trackers,
        description="trackers that get loss, gradient norm and learning rate of each step; changes no result",
    )

    @field_validator("matryoshka")
    @classmethod
    def _usable_dimensions(cls, dimensions: list[int]) -> list[int]:
        if dimensions and min(dimensions) < 1:
            raise ValueError(f"dimensions must be 1 or more: {dimensions}")
        if len(set(dimensions)) < len(dimensions):
            raise ValueError(f"dimensions repeat: {dimensions}")
        return sorted(dimensions)

    @model_validator(mode="after")
    def _has_a_row_for_each_process(self) -> TrainConfig:
        if self.processes > self.batch_size:
            raise ValueError(
                f"processes is {self.processes}, but a batch has {self.batch_size} rows (batch_size): wanted at least "
                "one row for each process"
            )
        return self

    @model_validator(mode="after")
    def _looks_at_whole_weights(self) -> TrainConfig:
        if self.shard and self.early_stopping is not None:
            raise ValueError(
                "shard and early_stopping: a look needs the whole model on one device; leave one of them out"
            )
        return self


def hashed_training(config: TrainConfig) -> dict[str, Any]:
    """Return the settings of a training that keys hash, as JSON values.

    What only fits it to a machine is left out, and so are the names of dev tasks: their content is hashed apart.
    """
    found = config.model_dump(mode="json", exclude=set(MACHINE_KEYS))
    if stopping := found.get("early_stopping"):
        found["early_stopping"] = {key: value for key, value in stopping.items() if key != "dev"}
    return found


def too_wide(config: TrainConfig, width: int, design: str = "") -> str:
    """Return what is wrong with ``train.matryoshka`` for embeddings of this width; empty if nothing is.

    Args:
        design: the one that has this width, for the message.
    """
    if not (above := [dimension for dimension in config.matryoshka if dimension > width]):
        return ""
    named = ", ".join(map(str, above))
    of_what = f" of {design}" if design else ""
    return f"train.matryoshka has {named}; wanted at most {width}, the width of the embeddings{of_what}; leave it out"


class Adapt(Section):
    """Masked next-token training of the base, before bidirectional designs start from it. Off if the section is absent.

    Method, precision, weight decay, warm-up, clipping and checkpoints are those of ``train``.
    """

    steps: int = Field(
        default=200, ge=1, le=MOST_STEPS, description="optimiser steps; without `adapt:` the base is not adapted"
    )
    batch_size: int = Field(default=32, ge=1, le=MOST_ROWS, description="texts per step")
    learning_rate: float = Field(default=3e-4, gt=0, description="peak learning rate of LoRA or of the base")
    mask_share: float = Field(
        default=0.2, gt=0, lt=1, description="share of a text's tokens that is masked, at least one token"
    )
    mask_token: str | None = Field(
        default=None, description="replaces a masked token; null is the tokenizer's mask token, or else `_`"
    )
    max_tokens: int = Field(default=128, ge=4, description="longest text, EOS included; longer texts are truncated")
    data: list[str] | None = Field(
        default=None, min_length=1, description="sources of texts; null is all training texts"
    )
    lora_rank: int = Field(
        default=16,
        ge=1,
        le=MOST_RANK,
        description="rank of LoRA, on all linear layers; merged into the base at the end",
    )
    lora_alpha: int = Field(default=32, ge=1, description="the update is scaled by alpha / rank")
    seed: int = Field(
        default=0, description="of texts, masks and LoRA; all seeds of the study use the same adapted base"
    )

    @field_validator("data", mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class TuneConfig(Section):
    """The same learning-rate search for every design: ``steps`` steps at each rate; the best dev score wins."""

    learning_rate: list[float] = Field(
        min_length=2, description="rates to try; the head's rate is scaled in proportion"
    )
    steps: int = Field(ge=1, le=MOST_STEPS, description="optimiser steps of each trial")
    dev: list[str] = Field(min_length=1, description="tasks to choose by; the study must not evaluate on them")

    @field_validator("learning_rate")
    @classmethod
    def _usable_rates(cls, rates: list[float]) -> list[float]:
        if min(rates) <= 0:
            raise ValueError(f"learning rates must be above 0: {rates}")
        if len({f"{rate:g}" for rate in rates}) < len(rates):  # trials are named by six digits
            raise ValueError(f"learning rates repeat (compared to six digits): {rates}")
        return rates
