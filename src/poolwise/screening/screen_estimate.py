"""Estimates the time and disk space of a screen from one small measurement on this machine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poolwise.config import Recipe
from poolwise.design import parse_design
from poolwise.errors import ConfigError
from poolwise.jobs import Job
from poolwise.models import base_shape
from poolwise.screening import disk_bytes
from poolwise.screening.capture import reading_model, states_of
from poolwise.screening.needs import Need, need_of
from poolwise.screening.screen_plan import KEPT, Role, attentions, pass_name, screen_keys, screen_needs
from poolwise.screening.store import Key
from poolwise.study.adapt_estimate import LIBRARIES_GIB, adaptation_memory, adaptation_seconds, weight_bytes
from poolwise.study.estimate import (
    BM25_SECONDS,
    SAMPLE_TEXTS,
    SCORING_SECONDS_PER_TASK,
    Estimate,
)
from poolwise.study.inputs import StudyInputs

TRAIN_OVER_FORWARD = 3.0
STEP_SECONDS = 0.02
"""Overhead of a training step of a head, besides its arithmetic."""
START_SECONDS = 3.0
"""Start of a job that trains or evaluates: loading its data and building its model."""


@dataclass(frozen=True)
class _Sample:
    """The texts of one role: how many, their mean length in tokens, and texts per second of base and one head."""

    num_texts: int
    tokens_a_text: float
    texts_per_second: float


def estimate_screen(jobs: Sequence[Job], recipe: Recipe, inputs: StudyInputs) -> Estimate:
    """Return the expected time, memory and disk of the jobs, from the base's speed on a sample of the texts."""
    samples: dict[Role, _Sample] = {
        "training": _measure(recipe, inputs, "training"),
        "evaluation": _measure(recipe, inputs, "evaluation"),
    }
    seconds = {job.id: _seconds(job, recipe, inputs, samples) for job in jobs}
    num_layers, dim = base_shape(inputs.base)
    size = num_bytes(jobs, recipe, inputs, samples)
    # The base, and a batch of layer states.
    weights = 12 * num_layers * dim**2 * weight_bytes(recipe, inputs.hashes.base_dtype)
    batch = recipe.eval.batch_size * recipe.max_tokens * dim * (num_layers + 8) * 4
    adapting = adaptation_memory(recipe, inputs.base, jobs, inputs.hashes.base_dtype)
    memory = max((weights + batch) / 2**30 + LIBRARIES_GIB, adapting)
    return Estimate(jobs, seconds, memory, size / 2**30)


def num_bytes(jobs: Sequence[Job], recipe: Recipe, inputs: StudyInputs, samples: dict[Role, _Sample]) -> int:
    """Return the bytes that the passes among ``jobs`` will write."""
    names, total = {job.name for job in jobs if job.kind == "pass"}, 0
    for attention in attentions(recipe):
        for role, sample in samples.items():
            if pass_name(role, attention) in names:
                needs = screen_needs(recipe, inputs.base, role, attention)
                num_tokens = round(sample.num_texts * sample.tokens_a_text)
                total += disk_bytes(needs, sample.num_texts, num_tokens, base_shape(inputs.base), KEPT)
    return total


def require_disk(estimate: Estimate, out: Path) -> None:
    """Check, before the first pass, that the states fit on the disk.

    Raises: ConfigError with the space needed and the space free.
    """
    place = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free / 2**30
    if (estimate.disk_gib or 0.0) > free:
        raise ConfigError(
            f"the stored states need about {estimate.disk_gib:.1f} GiB, and {place} has {free:.1f} GiB free",
            hint="give --out on another disk, lower max_items or eval.max_tokens, or drop the latent poolings",
        )


def _measure(recipe: Recipe, inputs: StudyInputs, role: Role) -> _Sample:
    keys = screen_keys(recipe, inputs, role)
    sample = keys[:: max(1, len(keys) // SAMPLE_TEXTS)][:SAMPLE_TEXTS]
    precision = (recipe.train if role == "training" else recipe.eval).precision
    max_tokens = recipe.train.max_tokens if role == "training" else recipe.max_tokens
    attention = parse_design(recipe.designs[0]).attention
    model = reading_model(
        inputs.base,
        attention,
        max_tokens,
        precision,
        inputs.hashes.base_dtype,
        split_special_tokens=recipe.split_special_tokens,
    )
    needs = screen_needs(recipe, inputs.base, role, attention)
    best = min(_time(model, sample, needs) for _ in range(2))  # the first call includes kernel set-up
    rows = [model[0].tokens.encode([text], prompt, max_tokens)[0][0] for prompt, text in sample]
    return _Sample(len(keys), sum(map(len, rows)) / len(rows), len(sample) / best)


def _time(model: object, sample: Sequence[Key], needs: Sequence[Need]) -> float:
    start = time.perf_counter()
    for prompt in dict.fromkeys(prompt for prompt, _ in sample):
        states_of(model, prompt, [text for p, text in sample if p == prompt], needs)
    return time.perf_counter() - start


def _seconds(job: Job, recipe: Recipe, inputs: StudyInputs, samples: dict[Role, _Sample]) -> float:
    training, evaluation = samples["training"], samples["evaluation"]
    scoring = SCORING_SECONDS_PER_TASK * len(inputs.tasks)
    if job.kind == "adapt":
        return adaptation_seconds(recipe, inputs.base, training.texts_per_second)
    if job.kind == "pass":
        sample = samples["training" if job.name.endswith("training") else "evaluation"]
        return sample.num_texts / sample.texts_per_second
    if job.kind == "anchor":
        return BM25_SECONDS if job.name == "bm25" else scoring
    share = _share(job.name, inputs.base)
    if job.kind == "train":
        texts = recipe.train.steps * recipe.train.batch_size * 3 if share else 0
        return (
            START_SECONDS
            + TRAIN_OVER_FORWARD * share * texts / training.texts_per_second
            + (STEP_SECONDS * recipe.train.steps if share else 0.0)
        )
    if not share and job.seed != recipe.seeds[0]:
        return 0.1
    return START_SECONDS + scoring + share * evaluation.num_texts / evaluation.texts_per_second


def _share(name: str, base: str) -> float:
    """Return the approximate cost of a pooling relative to the base's forward pass of the same texts."""
    design = parse_design(name)
    if not design.is_trainable:
        return 0.0
    num_layers, dim = base_shape(base)
    need = need_of(design, dim, num_layers)
    if design.pooling in ("latent", "nv_latent", "multilayer"):
        return 0.3 if need.tokens == "all" else 0.2
    return 0.02
