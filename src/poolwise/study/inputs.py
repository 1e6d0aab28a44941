"""The inputs of a study, checked before the first job: base, training pairs, batches, tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from poolwise.base_dtypes import HeldDtype
from poolwise.base_sources.find import require_there
from poolwise.config import DataConfig, Prompts, Recipe
from poolwise.data import (
    Schedule,
    TrainingData,
    Triple,
    build_schedule,
    describe_sources,
    load_plain_texts,
    load_sources,
    texts_fingerprint,
    triple_texts,
)
from poolwise.errors import ConfigError, PoolwiseError
from poolwise.records import Category
from poolwise.study.entrants import Entrant, find_entrants
from poolwise.study.limits import require_possible
from poolwise.study.plan import InputHashes
from poolwise.tasks import Task, load_tasks

T = TypeVar("T")
DATA_SEED = 0


@dataclass(frozen=True)
class StudyInputs:
    """The inputs that the jobs of one recipe share. ``source_category`` says whose prompts a source is trained with.

    ``base`` is the base that designs start from: the recipe's, or the adapted base for jobs that need it.
    """

    base: str
    triples: list[Triple]
    source_category: Mapping[str, Category]
    prompts: Mapping[Category, Prompts]
    schedules: Mapping[int, Schedule]
    tasks: list[Task]
    dev: list[Task]
    hashes: InputHashes
    adapt_texts: Sequence[str] = ()
    stopping: Sequence[Task] = ()
    """The dev tasks of early stopping."""
    sources: Sequence[str] = ()
    """How each training source was read, for people."""
    entrants: Mapping[str, Entrant] = field(default_factory=dict)
    """The models of others to compare with, by their names in tables."""
    split_special_tokens: bool = True
    """Whether special tokens that are spelled in texts are read as their characters."""

    def on_base(self, base: str) -> StudyInputs:
        """Return these inputs with another base."""
        return replace(self, base=base)


def load_inputs(recipe: Recipe) -> StudyInputs:
    """Return all inputs that the recipe names, loaded and checked.

    Raises: the error if there is one, or a ConfigError that lists all errors.
    """
    problems: list[PoolwiseError] = []

    def attempt(load: Callable[[], T]) -> T | None:
        try:
            return load()
        except PoolwiseError as error:
            problems.append(error)
            return None

    data = attempt(lambda: _load_scheduled(recipe))
    tasks = attempt(lambda: load_evaluation(recipe))
    adapt_texts = attempt(lambda: load_adapt_texts(recipe, lambda: data[0].triples if data else []))
    dev = attempt(lambda: load_dev(recipe, tasks or []))
    stopping = attempt(lambda: load_stopping(recipe, tasks or []))
    entrants = attempt(lambda: find_entrants(recipe))
    attempt(lambda: require_there(recipe.base, "base"))
    # What needs torch to be checked comes last: a wrong path is reported in a second.
    if not problems and attempt(lambda: _resolve(recipe.base)) is not None:
        attempt(lambda: require_possible(recipe))
        attempt(lambda: held_dtype(recipe))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ConfigError("\n".join(str(problem) for problem in problems))
    assert data is not None and tasks is not None and dev is not None and adapt_texts is not None
    assert stopping is not None and entrants is not None
    from poolwise.models import pinned_base

    training, schedules = data
    texts, texts_hash = adapt_texts
    return StudyInputs(
        base=pinned_base(recipe.base),
        triples=training.triples,
        source_category=source_categories(recipe),
        prompts=recipe.prompts,
        schedules=schedules,
        tasks=tasks,
        dev=dev,
        hashes=InputHashes(
            base=base_hash(recipe.base),
            data=training.fingerprints,
            schedules={seed: schedule.hash for seed, schedule in schedules.items()},
            tasks={task.name: task.fingerprint for task in tasks},
            dev={task.name: task.fingerprint for task in dev},
            adapt_texts=texts_hash,
            stopping={task.name: task.fingerprint for task in stopping},
            base_dtype=held_dtype(recipe),
            entrants={name: entrant.fingerprint for name, entrant in entrants.items()},
        ),
        entrants=entrants,
        stopping=stopping,
        adapt_texts=texts,
        sources=describe_sources(training),
        split_special_tokens=recipe.split_special_tokens,
    )


def _resolve(base: str) -> str:
    from poolwise.models import resolve_base

    return resolve_base(base)


def held_dtype(recipe: Recipe, device: str | None = None) -> HeldDtype:
    """Return the dtype in which a recipe's base is held on a device.

    Raises: ConfigError for a dtype that the device does not allow.
    """
    from poolwise.models.base_dtype import hold_base_in

    return hold_base_in(
        recipe.base_dtype,
        method=recipe.train.method,
        precisions=recipe.precisions,
        device=device,
        adapts=recipe.adapt is not None,
    )


def base_hash(name: str) -> str:
    """Return the hash of a base's files, which identifies the base in a plan.

    Saved models are checked against the same hash; a process hashes an unchanged file only once.
    """
    from poolwise.models.bases import base_fingerprint

    return base_fingerprint(name)


def source_categories(recipe: Recipe) -> dict[str, Category]:
    """Return the category whose prompts each training source is trained with."""
    return {source.source: source.category for source in recipe.data.train}


def schedule_path(out: Path, seed: int) -> Path:
    """Return the file with the batches of one seed."""
    return out / "schedules" / f"seed-{seed}.json"


def load_training(config: DataConfig) -> TrainingData:
    """Return the training triples of a recipe, at most ``max_rows``."""
    return load_sources(config.train, config.max_rows, DATA_SEED)


def _load_scheduled(recipe: Recipe) -> tuple[TrainingData, dict[int, Schedule]]:
    training = load_training(recipe.data)
    steps = max(recipe.train.steps, recipe.tune.steps if recipe.tune else 0)
    return training, {
        seed: build_schedule(training.triples, steps=steps, batch_size=recipe.train.batch_size, seed=seed)
        for seed in recipe.seeds
    }


def load_evaluation(recipe: Recipe) -> list[Task]:
    """Return the tasks that a recipe evaluates on."""
    return load_tasks(recipe.tasks, max_items=recipe.max_items, prompts=recipe.prompts)


def load_adapt_texts(recipe: Recipe, triples: Callable[[], Sequence[Triple]]) -> tuple[Sequence[str], str | None]:
    """Return the texts for adapting the base and their fingerprint; no texts and None if it is not adapted.

    Args:
        triples: returns the training triples; called if the recipe names no texts for the adaptation.
    """
    if recipe.adapt is None:
        return [], None
    texts = load_plain_texts(recipe.adapt.data) if recipe.adapt.data else triple_texts(triples())
    return texts, texts_fingerprint(texts)


def load_dev(recipe: Recipe, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks that learning rates are tuned on; empty without tuning.

    Raises: ConfigError where one of them is among ``tasks``.
    """
    return _load_apart("tune.dev", recipe.tune.dev, recipe, tasks) if recipe.tune else []


def load_stopping(recipe: Recipe, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks that early stopping looks at; empty without it.

    Raises: ConfigError where one of them is among ``tasks``.
    """
    stopping = recipe.train.early_stopping
    return _load_apart("train.early_stopping.dev", stopping.dev, recipe, tasks) if stopping else []


def _load_apart(key: str, names: Sequence[str], recipe: Recipe, tasks: Sequence[Task]) -> list[Task]:
    dev = load_tasks(names, max_items=recipe.max_items, prompts=recipe.prompts)
    used = {task.fingerprint: task.name for task in tasks}
    if both := [task.name for task in dev if task.fingerprint in used]:
        raise ConfigError(
            f"{key} uses {', '.join(both)}, which the study is evaluated on",
            "choosing by the test items would make every design look too good",
            "give a dev split, such as FOLDER@dev, or another task",
        )
    return dev
