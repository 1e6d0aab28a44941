"""The inputs of a study in a worker process: loaded when a job needs them, and checked against the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from poolwise.config import Prompts, Recipe
from poolwise.data import Schedule, TrainingData, Triple, load_schedule
from poolwise.errors import DataError
from poolwise.records import Category
from poolwise.study.entrants import Entrant, find_entrants
from poolwise.study.inputs import (
    StudyInputs,
    base_hash,
    load_adapt_texts,
    load_dev,
    load_evaluation,
    load_stopping,
    load_training,
    schedule_path,
    source_categories,
)
from poolwise.study.plan import InputHashes
from poolwise.tasks import Task


class WorkerInputs:
    """The same inputs as ``StudyInputs``, for a worker; each part is loaded once, when it is first used.

    Raises: DataError when a part is used that changed since the plan was made; the message names it.
    """

    def __init__(self, recipe: Recipe, hashes: InputHashes, out: Path, base: str | None = None) -> None:
        self.recipe, self.hashes = recipe, hashes
        self.prompts: Mapping[Category, Prompts] = recipe.prompts
        self.source_category = source_categories(recipe)
        self.split_special_tokens = recipe.split_special_tokens
        self._base = base
        self._parts = _Parts(recipe, hashes, out)

    def on_base(self, base: str) -> WorkerInputs:
        """Return these inputs with another base; loaded parts are shared."""
        other = WorkerInputs.__new__(WorkerInputs)
        other.__dict__ = self.__dict__ | {"_base": base}
        return other

    @property
    def base(self) -> str:
        return self._base or self._parts.base

    @property
    def triples(self) -> list[Triple]:
        return self._parts.training.triples

    @property
    def schedules(self) -> Mapping[int, Schedule]:
        return self._parts.schedules

    @property
    def tasks(self) -> list[Task]:
        return self._parts.tasks

    @property
    def dev(self) -> list[Task]:
        return self._parts.dev

    @property
    def stopping(self) -> Sequence[Task]:
        return self._parts.stopping

    @property
    def adapt_texts(self) -> Sequence[str]:
        return self._parts.adapt_texts

    @property
    def entrants(self) -> Mapping[str, Entrant]:
        return self._parts.entrants


Inputs = StudyInputs | WorkerInputs


def training_part(inputs: Inputs) -> StudyInputs:
    """Return the inputs that a training reads, without evaluation tasks and schedules, for another process."""
    return StudyInputs(
        base=inputs.base,
        triples=inputs.triples,
        source_category=dict(inputs.source_category),
        prompts=dict(inputs.prompts),
        schedules={},
        tasks=[],
        dev=[],
        hashes=inputs.hashes,
        stopping=inputs.stopping,
        split_special_tokens=inputs.split_special_tokens,
    )


class _Parts:
    """The loaded parts, each checked against the plan."""

    def __init__(self, recipe: Recipe, hashes: InputHashes, out: Path) -> None:
        self._recipe, self._hashes, self._out = recipe, hashes, out

    @cached_property
    def base(self) -> str:
        _require_same("base", {self._recipe.base: self._hashes.base}, {self._recipe.base: base_hash(self._recipe.base)})
        from poolwise.models import pinned_base

        return pinned_base(self._recipe.base)

    @cached_property
    def training(self) -> TrainingData:
        found = load_training(self._recipe.data)
        _require_same("training data", self._hashes.data, found.fingerprints)
        return found

    @cached_property
    def schedules(self) -> Mapping[int, Schedule]:
        found = {seed: load_schedule(schedule_path(self._out, seed)) for seed in self._recipe.seeds}
        wanted = {f"seed {seed}": value for seed, value in self._hashes.schedules.items()}
        _require_same("batch schedule", wanted, {f"seed {seed}": schedule.hash for seed, schedule in found.items()})
        return found

    @cached_property
    def tasks(self) -> list[Task]:
        found = load_evaluation(self._recipe)
        _require_same("task", self._hashes.tasks, {task.name: task.fingerprint for task in found})
        return found

    @cached_property
    def dev(self) -> list[Task]:
        found = load_dev(self._recipe, self.tasks)
        _require_same("dev task", self._hashes.dev, {task.name: task.fingerprint for task in found})
        return found

    @cached_property
    def stopping(self) -> list[Task]:
        found = load_stopping(self._recipe, self.tasks)
        _require_same("early-stopping task", self._hashes.stopping, {task.name: task.fingerprint for task in found})
        return found

    @cached_property
    def adapt_texts(self) -> Sequence[str]:
        texts, found = load_adapt_texts(self._recipe, lambda: self.training.triples)
        _require_same("texts of", {"the adaptation": self._hashes.adapt_texts}, {"the adaptation": found})
        return texts

    @cached_property
    def entrants(self) -> Mapping[str, Entrant]:
        found = find_entrants(self._recipe)
        _require_same("entrant", self._hashes.entrants, {name: one.fingerprint for name, one in found.items()})
        return found


def _require_same(what: str, planned: Mapping[str, str | None], found: Mapping[str, str | None]) -> None:
    """Raise DataError where a fingerprint differs from the plan's, or a part is new or missing."""
    changed = [
        f"{what} {name} changed while the study ran: fingerprint {planned.get(name)} -> {found.get(name)}"
        for name in dict.fromkeys([*planned, *found])
        if planned.get(name) != found.get(name)
    ]
    if changed:
        raise DataError(
            "; ".join(changed), "wanted the inputs of the plan", "run the same command again: it makes a new plan"
        )
