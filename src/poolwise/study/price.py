"""The price of a study from configurations alone: for bases, data and tasks that are not on this machine.

Every figure is computed from sizes; nothing is measured. ``estimate`` measures this machine instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poolwise.attentions import parse_attention
from poolwise.base_dtypes import HeldDtype
from poolwise.config import GPUS, PriceConfig, Recipe, TrainConfig, too_wide
from poolwise.design import Design, narrowest, parse_design
from poolwise.errors import ConfigError
from poolwise.jobs import Job
from poolwise.study.adapt_estimate import ACTIVATION_BYTES, LIBRARIES_GIB, bytes_held, rows_at_once, weight_bytes
from poolwise.study.estimate import BM25_SECONDS, SCORING_SECONDS_PER_TASK, Estimate
from poolwise.study.jobs import UNTUNED_DESIGN
from poolwise.study.plan import InputHashes, plan_jobs
from poolwise.tasks.mteb_sizes import TaskSize, mteb_sizes

if TYPE_CHECKING:
    from poolwise.models.sizes import BaseSizes

TRAINED_BYTES = 16
"""A trained weight, its gradient and AdamW's two moments, in fp32."""
STORED_BYTES = 4
CHECKPOINT_BYTES = 12
"""A trained weight and AdamW's moments, while a training runs."""
DOWNLOAD_BYTES = 2
"""Bases on the hub are mostly stored in bf16."""


@dataclass(frozen=True)
class _Parts:
    recipe: Recipe
    price: PriceConfig
    sizes: BaseSizes
    tasks: Sequence[TaskSize]

    @property
    def flops_per_second(self) -> float:
        return GPUS[self.price.gpu].tflops * 1e12 * self.price.utilisation

    @property
    def train_tokens(self) -> int:
        return min(self.price.train_tokens or self.recipe.train.max_tokens, self.recipe.train.max_tokens)

    def forward_flops(self, design: Design, num_texts: float, num_tokens: float) -> float:
        """Return the operations of the base on texts of equal length; causal attention reads half of the pairs."""
        length = design.num_read(num_tokens / max(1.0, num_texts))
        seen = length / 2 if parse_attention(design.attention).kind == "causal" else length
        return num_texts * length * (2.0 * self.sizes.num_decoder + 4.0 * seen * self.sizes.dim * self.sizes.num_layers)


def price_study(recipe: Recipe) -> Estimate:
    """Return the jobs of a study with their hours, the memory of one GPU, disk, and what was assumed.

    A training has as many GPUs as ``train.processes`` says; an evaluation has one.

    Raises: ConfigError where a key of the recipe cannot be priced; DataError where the size of a task is not known.
    """
    from poolwise.models.bases import base_config
    from poolwise.models.sizes import base_sizes, read_config

    assert recipe.price is not None
    config = read_config(Path(recipe.price.base_config)) if recipe.price.base_config else base_config(recipe.base)
    _require_priced(recipe, config)
    parts = _Parts(recipe, recipe.price, base_sizes(config), mteb_sizes(recipe.tasks))
    # Ids of jobs hash the content of inputs, which is not here: these ids are not those of a real run.
    unknown = {seed: f"seed {seed}" for seed in recipe.seeds}
    jobs = plan_jobs(recipe, InputHashes(recipe.base, {}, unknown, {task.name: "" for task in parts.tasks}, {}))
    seconds = {job.id: _seconds(job, parts) for job in jobs}
    memory = _memory_gib(parts)
    return Estimate(
        jobs, seconds, memory, disk_gib=_disk_gib(jobs, parts), notes=[*_fits(memory, parts), *_assumed(parts)]
    )


def _require_priced(recipe: Recipe, config: object) -> None:
    problems = []
    if recipe.adapt is not None or recipe.tune is not None or recipe.train.early_stopping is not None:
        problems.append("price: adapt, tune and train.early_stopping are not priced; leave them out for the dry run")
    if recipe.max_items is not None:
        problems.append("price: max_items is not priced; leave it out for the dry run")
    if recipe.entrants:
        problems.append("price: entrants are not priced; leave them out for the dry run")
    if others := [name for name in recipe.tasks if not name.startswith("mteb:")]:
        problems.append(f"price: only mteb: tasks are priced, not {', '.join(others)}")
    for name in recipe.designs:
        try:
            parse_design(name).require_layers(config.num_hidden_layers)  # type: ignore[attr-defined]
            parse_design(name).require_width(config.hidden_size)  # type: ignore[attr-defined]
        except ConfigError as error:
            problems.append(str(error))
    width, narrow = narrowest(recipe.designs, config.hidden_size)  # type: ignore[attr-defined]
    problems += [problem] if (problem := too_wide(recipe.train, width, narrow)) else []
    if problems:
        raise ConfigError("\n".join(problems))


def passes(train: TrainConfig) -> float:
    """Return the passes over the base of a training step, each as long as a forward pass.

    A backward pass is one for the gradients of states and one for those of trained weights; LoRA's are small.
    GradCache reads a batch once more, and so does gradient checkpointing.
    """
    backward = {"frozen": 0, "lora": 1, "full": 2}[train.method]
    is_cached = math.ceil(train.batch_size / train.processes) > train.mini_batch_size
    return 1.0 + backward + is_cached + (train.gradient_checkpointing and train.method != "frozen")


def _seconds(job: Job, parts: _Parts) -> float:
    from poolwise.models.sizes import head_flops

    if job.name in ("bm25", "random"):
        return BM25_SECONDS * len(parts.tasks) if job.name == "bm25" else SCORING_SECONDS_PER_TASK * len(parts.tasks)
    train, design = parts.recipe.train, parse_design(job.design or UNTUNED_DESIGN)
    if job.kind == "train":
        num_texts = train.steps * train.batch_size * parts.price.texts_per_row
        trained = num_texts * parts.train_tokens
        base = parts.forward_flops(design, num_texts, trained) * passes(train)
        head = num_texts * head_flops(design, parts.sizes, parts.train_tokens) * (passes(train) + 1)
        return (base + head) / parts.flops_per_second / train.processes
    total = 0.0
    for task in parts.tasks:
        num_tokens = task.num_tokens(parts.price.chars_per_token, parts.recipe.max_tokens)
        total += parts.forward_flops(design, task.num_texts, num_tokens)
        total += task.num_texts * head_flops(design, parts.sizes, num_tokens / task.num_texts)
    return total / parts.flops_per_second + SCORING_SECONDS_PER_TASK * len(parts.tasks)


def _trained(design: str, parts: _Parts) -> int:
    from poolwise.models.sizes import count_head

    train, sizes = parts.recipe.train, parts.sizes
    own = {"frozen": 0, "lora": sizes.num_lora * train.lora_rank, "full": sizes.num_parameters}[train.method]
    return own + count_head(parse_design(design), sizes)


def _dtype(recipe: Recipe) -> HeldDtype:
    """Return the dtype in which a GPU with bf16 products holds the base."""
    if recipe.base_dtype != "auto":
        return recipe.base_dtype
    return "fp32" if recipe.train.method == "full" or "fp32" in recipe.precisions.values() else "bf16"


def _memory_gib(parts: _Parts) -> float:
    """Return the memory of the largest training: weights, optimiser, and the activations of a mini-batch."""
    train, sizes = parts.recipe.train, parts.sizes
    tokens = rows_at_once(train) * parts.price.texts_per_row * train.max_tokens
    # With checkpoints, the input of each layer in fp32, and everything of one layer at a time.
    per_unit = (
        4 * sizes.num_layers + ACTIVATION_BYTES
        if train.gradient_checkpointing
        else (ACTIVATION_BYTES * sizes.num_layers)
    )
    activations = 0 if train.method == "frozen" else tokens * sizes.dim * per_unit
    trained = max(_trained(name, parts) for name in parts.recipe.designs)
    trained -= sizes.num_parameters if train.method == "full" else 0  # counted with the base
    whole = sizes.num_parameters * weight_bytes(parts.recipe, _dtype(parts.recipe)) + trained * TRAINED_BYTES
    weights = bytes_held(train, whole, sizes.num_decoder / sizes.num_layers)
    return (weights + activations) / 2**30 + LIBRARIES_GIB


def _disk_gib(jobs: Sequence[Job], parts: _Parts) -> float:
    trained = {name: _trained(name, parts) for name in parts.recipe.designs}
    models = sum(trained[job.name] for job in jobs if job.kind == "train") * STORED_BYTES
    return (models + max(trained.values()) * CHECKPOINT_BYTES + parts.sizes.num_parameters * DOWNLOAD_BYTES) / 2**30


def _fits(memory: float, parts: _Parts) -> list[str]:
    gpu = GPUS[parts.price.gpu]
    if memory <= gpu.memory_gib:
        return []
    train = parts.recipe.train
    more = "" if train.shard else ", or share the weights out with train.processes and train.shard: true"
    return [
        f"one {gpu.name} has {gpu.memory_gib} GiB, but training needs about {memory:.0f}: lower train.mini_batch_size "
        f"or train.max_tokens, set train.gradient_checkpointing: true{more}"
    ]


def _assumed(parts: _Parts) -> list[str]:
    recipe, price, sizes, gpu = parts.recipe, parts.price, parts.sizes, GPUS[parts.price.gpu]
    num_texts = sum(task.num_texts for task in parts.tasks)
    num_tokens = sum(task.num_tokens(price.chars_per_token, recipe.max_tokens) for task in parts.tasks)
    embeddings = num_texts * sizes.dim * 4 / 2**30
    count = recipe.train.processes
    shared = f"; {count} of it share a training, assumed {count} times as fast as one" if count > 1 else ""
    return [
        "computed from sizes, not measured; the job ids are not those of a real run",
        f"base: {sizes.num_parameters / 1e9:.2f} B parameters, {sizes.num_layers} layers of width {sizes.dim}, from "
        f"{price.base_config or recipe.base}, held in {_dtype(recipe)}; no weights were read",
        f"GPU: one {gpu.name}, {gpu.tflops:,.0f} TFLOP/s in bf16, of which {price.utilisation:.0%} are reached{shared}",
        f"training: {parts.train_tokens} tokens in each of {price.texts_per_row} texts per row, "
        f"{passes(recipe.train):g} passes over the base per step",
        f"evaluation of one model: {num_texts:,} texts with {num_tokens / 1e6:,.0f} M tokens, from mteb's own figures "
        f"and {price.chars_per_token:g} characters per token",
        f"embeddings of one model while it is evaluated: {embeddings:,.0f} GiB of the computer's memory, not the GPU's",
    ]
