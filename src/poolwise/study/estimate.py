"""Estimates the time and memory of a plan from one small measurement on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from poolwise.base_dtypes import HeldDtype
from poolwise.config import Recipe
from poolwise.design import Design, parse_design
from poolwise.errors import ModelError, PoolwiseError
from poolwise.jobs import Job
from poolwise.study.adapt_estimate import (
    ACTIVATION_BYTES,
    LIBRARIES_GIB,
    STEP_PER_FORWARD,
    adaptation_memory,
    adaptation_seconds,
    bytes_held,
    num_devices,
    rows_at_once,
    weight_bytes,
)
from poolwise.study.entrants import load_entrant
from poolwise.study.inputs import StudyInputs
from poolwise.study.jobs import UNTUNED_DESIGN
from poolwise.tasks import Task

if TYPE_CHECKING:
    from poolwise.models import Backbone

SAMPLE_TEXTS = 64
BM25_SECONDS = 10.0
SCORING_SECONDS_PER_TASK = 0.6
"""Time to score a task once it is encoded; k-means and logistic regression take most of it."""


@dataclass(frozen=True)
class Estimate:
    """Expected seconds by job id, and peak memory in GiB; accurate to about a factor of two.

    ``disk_gib`` is the size of a screen's states, which stay on disk until they are deleted, or of all that a priced
    study writes; None for a study that was measured. ``notes`` say what a price assumes.
    ``tasks`` are those that a study evaluates on; empty for a screen.
    """

    jobs: Sequence[Job]
    seconds: dict[str, float]
    peak_memory_gib: float
    disk_gib: float | None = None
    tasks: Sequence[Task] = ()
    notes: Sequence[str] = ()


def estimate_jobs(jobs: Sequence[Job], recipe: Recipe, inputs: StudyInputs) -> Estimate:
    """Return the expected time and memory of the jobs, from the base's speed on a sample of the recipe's texts.

    Entrants are loaded and measured too, which finds one that cannot be loaded before the first job.
    """
    entrants = measure_entrants([job.name for job in jobs if job.kind == "entrant"], recipe, inputs)
    speed = _measure(recipe, inputs)
    seconds = {job.id: _seconds(job, recipe, inputs, speed, entrants) for job in jobs}
    dtype = inputs.hashes.base_dtype
    memory = max(_memory(recipe, speed, dtype), adaptation_memory(recipe, inputs.base, jobs, dtype))
    memory = max([memory, *(one.weights_gib + LIBRARIES_GIB for one in entrants.values())])
    return Estimate(jobs, seconds, memory, tasks=inputs.tasks)


@dataclass(frozen=True)
class _Speed:
    train_texts_per_second: float
    eval_texts_per_second: float
    train_tokens_per_text: float
    eval_tokens_per_text: float
    num_eval_texts: int
    num_dev_texts: int
    num_parameters: int
    num_layers: int
    hidden_size: int

    def of_design(self, design: Design) -> _Speed:
        """Return the speed of a design, which is lower if the base reads more than the text."""
        train, evaluation = self.train_tokens_per_text, self.eval_tokens_per_text
        return replace(
            self,
            train_texts_per_second=self.train_texts_per_second / (design.num_read(train) / train),
            eval_texts_per_second=self.eval_texts_per_second / (design.num_read(evaluation) / evaluation),
        )


def _measure(recipe: Recipe, inputs: StudyInputs) -> _Speed:
    from poolwise.encoding.encode import encode_texts
    from poolwise.models import build_model, prepare_encoding

    model = build_model(
        UNTUNED_DESIGN,
        inputs.base,
        method="frozen",
        max_tokens=recipe.train.max_tokens,
        precision=recipe.train.precision,
        base_dtype=inputs.hashes.base_dtype,
        split_special_tokens=recipe.split_special_tokens,
    )
    sample = inputs.triples[:: max(1, len(inputs.triples) // SAMPLE_TEXTS)]
    num_eval, eval_texts = _texts(inputs.tasks)
    num_dev, _ = _texts(inputs.dev)
    positives = [triple.positive for triple in sample][:SAMPLE_TEXTS]
    train_speed = _texts_per_second(lambda: encode_texts(model, positives), len(positives))
    prepare_encoding(model).max_seq_length = recipe.max_tokens
    evaluated = eval_texts[:: max(1, num_eval // SAMPLE_TEXTS)][:SAMPLE_TEXTS]
    eval_speed = _texts_per_second(lambda: encode_texts(model, evaluated), len(evaluated))
    config = model[0].model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return _Speed(
        train_speed,
        eval_speed,
        _tokens_per_text(model[0], positives, recipe.train.max_tokens),
        _tokens_per_text(model[0], evaluated, recipe.max_tokens),
        num_eval,
        num_dev,
        parameters,
        config.num_hidden_layers,
        config.hidden_size,
    )


def _tokens_per_text(backbone: Backbone, texts: Sequence[str], max_tokens: int) -> float:
    rows, _ = backbone.tokens.encode(texts, "", max_tokens)
    return sum(map(len, rows)) / len(rows)


def _texts(tasks: Sequence[object]) -> tuple[int, list[str]]:
    unique = dict.fromkeys(pair for task in tasks for pair in task.texts())  # type: ignore[attr-defined]
    return len(unique), [text for _, text in unique]


def _texts_per_second(read: Callable[[], object], num_texts: int) -> float:
    best = float("inf")
    for _ in range(2):  # the first call includes kernel set-up
        start = time.perf_counter()
        read()
        best = min(best, time.perf_counter() - start)
    return num_texts / best


@dataclass(frozen=True)
class EntrantSpeed:
    """How fast an entrant encodes a sample of the tasks' texts, and what its weights take."""

    texts_per_second: float
    weights_gib: float


def measure_entrants(names: Sequence[str], recipe: Recipe, inputs: StudyInputs) -> dict[str, EntrantSpeed]:
    """Return the speed of each entrant, by name; each is loaded once and dropped.

    Raises: the error if one of them cannot be loaded, or a ModelError that lists all errors.
    """
    _, texts = _texts(inputs.tasks)
    sample = texts[:: max(1, len(texts) // SAMPLE_TEXTS)][:SAMPLE_TEXTS]
    found, problems = {}, []
    for name in names:
        try:
            model, _ = load_entrant(inputs.entrants[name], recipe)
        except PoolwiseError as error:
            problems.append(error)
            continue
        num_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        speed = _texts_per_second(partial(model.encode, sample, show_progress_bar=False), len(sample))
        found[name] = EntrantSpeed(speed, num_bytes / 2**30)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ModelError("\n".join(str(problem) for problem in problems))
    return found


def _seconds(
    job: Job, recipe: Recipe, inputs: StudyInputs, speed: _Speed, entrants: Mapping[str, EntrantSpeed]
) -> float:
    texts_per_step = recipe.train.batch_size * 3
    if job.kind in ("train", "tune", "eval"):
        speed = speed.of_design(parse_design(job.name))
    step = STEP_PER_FORWARD * texts_per_step / speed.train_texts_per_second / num_devices(recipe.train)
    scoring = SCORING_SECONDS_PER_TASK * len(inputs.tasks)
    evaluation = speed.num_eval_texts / speed.eval_texts_per_second + scoring
    if job.kind == "adapt":
        return adaptation_seconds(recipe, inputs.base, speed.train_texts_per_second)
    if job.kind == "train":
        return step * recipe.train.steps
    if job.kind == "tune":
        assert recipe.tune is not None
        trial = step * recipe.tune.steps + speed.num_dev_texts / speed.eval_texts_per_second
        return trial * len(recipe.tune.learning_rate)
    if job.kind == "entrant":
        return speed.num_eval_texts / entrants[job.name].texts_per_second + scoring
    if job.name == "bm25":
        return BM25_SECONDS
    return scoring if job.name == "random" else evaluation


def _memory(recipe: Recipe, speed: _Speed, dtype: HeldDtype) -> float:
    rows = rows_at_once(recipe.train) * 3
    tokens = rows * max(parse_design(name).num_read(recipe.train.max_tokens) for name in recipe.designs)
    activations = tokens * speed.num_layers * speed.hidden_size * ACTIVATION_BYTES
    whole = speed.num_parameters * weight_bytes(recipe, dtype)
    weights = bytes_held(recipe.train, whole, speed.num_parameters / speed.num_layers)
    return (activations + weights) / 2**30 + LIBRARIES_GIB
