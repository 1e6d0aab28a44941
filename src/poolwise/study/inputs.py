"""Everything a study reads, checked before the first job: base, training pairs, batches, tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from poolwise.config import DataConfig, Prompts, Recipe
from poolwise.data import (
    Schedule,
    TrainingData,
    Triple,
    build_schedule,
    load_plain_texts,
    load_sources,
    texts_fingerprint,
    triple_texts,
)
from poolwise.design import parse_design
from poolwise.errors import ConfigError, PoolwiseError
from poolwise.records import Category
from poolwise.storage.fingerprints import fingerprint_folder
from poolwise.study.plan import InputHashes
from poolwise.tasks import Task, load_tasks

T = TypeVar("T")
DATA_SEED = 0


@dataclass(frozen=True)
class StudyInputs:
    """What the jobs of one recipe share. ``source_category`` tells whose prompts a source is trained with.

    ``base`` is what designs start from; one job may see another than the recipe's, where that is adapted.
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


def load_inputs(recipe: Recipe) -> StudyInputs:
    """Return everything the recipe names, loaded and checked.

    Raises: the one error there is, or a ConfigError that lists all of them.
    """
    from poolwise.models import resolve_base

    problems: list[PoolwiseError] = []

    def attempt(load: Callable[[], T]) -> T | None:
        try:
            return load()
        except PoolwiseError as error:
            problems.append(error)
            return None

    place = attempt(lambda: resolve_base(recipe.base))
    data = attempt(lambda: _load_scheduled(recipe))
    if place is not None:
        attempt(lambda: _require_layers(recipe))
    tasks = attempt(lambda: load_tasks(recipe.tasks, max_items=recipe.max_items, prompts=recipe.prompts))
    own_texts = attempt(lambda: load_plain_texts(recipe.adapt.data or []) if recipe.adapt and recipe.adapt.data else [])
    dev = attempt(lambda: _load_dev(recipe, tasks or []))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ConfigError("\n".join(str(problem) for problem in problems))
    assert place is not None and data is not None and tasks is not None and dev is not None
    training, schedules = data
    texts = own_texts or triple_texts(training.triples) if recipe.adapt else []
    return StudyInputs(
        base=portable_base(recipe.base),
        triples=training.triples,
        source_category={source.source: source.category for source in recipe.data.train},
        prompts=recipe.prompts,
        schedules=schedules,
        tasks=tasks,
        dev=dev,
        hashes=InputHashes(
            base=fingerprint_folder(Path(place)) if Path(place).is_dir() else place,
            data=training.fingerprints,
            schedules={seed: schedule.hash for seed, schedule in schedules.items()},
            tasks={task.name: task.fingerprint for task in tasks},
            dev={task.name: task.fingerprint for task in dev},
            adapt_texts=texts_fingerprint(texts) if recipe.adapt else None,
        ),
        adapt_texts=texts,
    )


def _require_layers(recipe: Recipe) -> None:
    from poolwise.models import base_shape

    num_layers = base_shape(recipe.base)[0]
    problems = []
    for name in recipe.designs:
        try:
            parse_design(name).require_layers(num_layers)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))


def portable_base(name: str) -> str:
    """Return the name by which a saved model can find its base from any working directory."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() else name


def load_training(config: DataConfig) -> TrainingData:
    """Return the training triples of a recipe, cut to ``max_rows``."""
    return load_sources(config.train, config.max_rows, DATA_SEED)


def _load_scheduled(recipe: Recipe) -> tuple[TrainingData, dict[int, Schedule]]:
    training = load_training(recipe.data)
    steps = max(recipe.train.steps, recipe.tune.steps if recipe.tune else 0)
    return training, {
        seed: build_schedule(training.triples, steps=steps, batch_size=recipe.train.batch_size, seed=seed)
        for seed in recipe.seeds
    }


def _load_dev(recipe: Recipe, tasks: list[Task]) -> list[Task]:
    if recipe.tune is None:
        return []
    dev = load_tasks(recipe.tune.dev, max_items=recipe.max_items, prompts=recipe.prompts)
    used = {task.fingerprint: task.name for task in tasks}
    if both := [task.name for task in dev if task.fingerprint in used]:
        raise ConfigError(
            f"tune.dev uses {', '.join(both)}, which the study is evaluated on",
            "a learning rate chosen on the test items would flatter every design",
            "give a dev split, such as FOLDER@dev, or another task",
        )
    return dev
