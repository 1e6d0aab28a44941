"""How far two runs of one cell of a study are apart: losses by step, weights, facts, and scores with their items."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from poolwise.records import (
    ItemScores,
    Record,
    RunManifest,
    TrainingStep,
    items_path,
    load_record,
    load_run,
    load_steps,
)
from poolwise.storage.fingerprints import file_hash

_CIRCUMSTANCES = {"schema_version", "name", "model", "notes", "versions", "cost", "variant"}
"""Fields of a manifest that say where, when and with what a run was made, not what it is."""


class StepDifference(Record):
    """The first step of a training at which two logs are not equal, and the field: the loss, if it differs."""

    step: int
    field: str
    recorded: float | None
    repeated: float | None


class WeightDifference(Record):
    """How far trained weights are apart."""

    num_tensors: int
    num_changed: int
    largest: float | None
    """The largest absolute difference of a weight; None where files, names or shapes differ."""
    relative: float | None
    """Length of the difference as a share of that of the recorded weights, over files that differ; None as above."""


class TaskDifference(Record):
    """How far the scores of a task are apart. ``num_changed`` counts items whose value is not equal bit for bit.

    ``largest_item`` is the largest difference of an item's value; None where one side has no scores.
    """

    task: str
    recorded: float | None
    repeated: float | None
    num_items: int
    num_changed: int
    largest_item: float | None
    is_same: bool

    @property
    def amount(self) -> float:
        """The absolute difference of the scores; infinite where one is missing."""
        if self.recorded is None or self.repeated is None:
            return math.inf
        return abs(self.recorded - self.repeated)


class RunDifferences(Record):
    """The differences of one run, or of the adapted base that it starts from; ``facts`` are fields of its manifest."""

    run: str
    num_steps: int
    first_step: StepDifference | None
    weights: WeightDifference
    facts: list[str]
    tasks: list[TaskDifference]

    @property
    def is_same(self) -> bool:
        """Whether both are equal bit for bit."""
        are_equal = self.first_step is None and self.weights.num_changed == 0 and not self.facts
        return are_equal and all(task.is_same for task in self.tasks)


def compare_run(recorded: Path, repeated: Path) -> RunDifferences:
    """Return the differences of two run folders of one cell; times, versions and notes are not compared.

    Raises: EvalError where a record cannot be read.
    """
    mine, theirs = load_run(recorded), load_run(repeated)
    steps, again = (_steps(folder) for folder in (recorded, repeated))
    return RunDifferences(
        run=recorded.name,
        num_steps=len(steps),
        first_step=_first_step(steps, again),
        weights=_compare_weights(recorded, repeated),
        facts=_changed_facts(mine.manifest, theirs.manifest),
        tasks=[_compare_task(recorded, repeated, task) for task in sorted(mine.scores.keys() | theirs.scores.keys())],
    )


def _steps(folder: Path) -> list[TrainingStep]:
    path = folder / "training.jsonl"
    return load_steps(path) if path.is_file() else []


def _first_step(recorded: Sequence[TrainingStep], repeated: Sequence[TrainingStep]) -> StepDifference | None:
    names = ["loss", *(name for name in TrainingStep.model_fields if name not in ("step", "loss", "seconds"))]
    for mine, theirs in zip(recorded, repeated, strict=False):
        for name in names:
            values = getattr(mine, name), getattr(theirs, name)
            if values[0] != values[1]:
                return StepDifference(step=mine.step, field=name, recorded=values[0], repeated=values[1])
    if len(recorded) == len(repeated):
        return None
    longer = max(recorded, repeated, key=len)[min(len(recorded), len(repeated))]
    losses = (longer.loss, None) if len(recorded) > len(repeated) else (None, longer.loss)
    return StepDifference(step=longer.step, field="loss", recorded=losses[0], repeated=losses[1])


def _changed_facts(recorded: RunManifest, repeated: RunManifest) -> list[str]:
    names = [name for name in RunManifest.model_fields if name not in _CIRCUMSTANCES]
    return [name for name in names if getattr(recorded, name) != getattr(repeated, name)]


def _compare_weights(recorded: Path, repeated: Path) -> WeightDifference:
    num_tensors = num_changed = 0
    largest, difference, length = 0.0, 0.0, 0.0
    can_compare = True
    names = {path.relative_to(folder) for folder in (recorded, repeated) for path in folder.rglob("*.safetensors")}
    for name in sorted(names):
        mine, theirs = recorded / name, repeated / name
        if not (mine.is_file() and theirs.is_file()):
            num_changed, can_compare = num_changed + 1, False
            continue
        for first, second in _tensors(mine, theirs):
            num_tensors += 1
            if first is None and second is None:
                continue
            if first is None or second is None or (first.shape, first.dtype) != (second.shape, second.dtype):
                num_changed, can_compare = num_changed + 1, False
                continue
            gap = (first.double() - second.double()).abs()
            length += float(first.double().square().sum())
            num_changed += int(not _bits(first).equal(_bits(second)))
            largest, difference = max(largest, float(gap.max())), difference + float(gap.square().sum())
    relative = math.sqrt(difference / length) if length else 0.0
    return WeightDifference(
        num_tensors=num_tensors,
        num_changed=num_changed,
        largest=largest if can_compare else None,
        relative=relative if can_compare else None,
    )


def _bits(tensor: Any) -> Any:
    """Return the bytes of a tensor: by them -0.0 is not 0.0, and a NaN is itself."""
    import torch

    return tensor.reshape(-1).view(torch.uint8)


def _tensors(first: Path, second: Path) -> Iterator[tuple[Any, Any]]:
    """Yield both tensors of each name, None for one that a file lacks; twice None where the files are equal."""
    from safetensors import safe_open

    is_equal = file_hash(first) == file_hash(second)
    with safe_open(first, framework="pt") as mine, safe_open(second, framework="pt") as theirs:
        have = set(mine.keys()), set(theirs.keys())
        for name in sorted(have[0] | have[1]):
            if is_equal:
                yield None, None
            else:
                yield (
                    mine.get_tensor(name) if name in have[0] else None,
                    theirs.get_tensor(name) if name in have[1] else None,
                )


def _compare_task(recorded: Path, repeated: Path, task: str) -> TaskDifference:
    mine, theirs = (_scores(folder, task) for folder in (recorded, repeated))
    if mine is None or theirs is None:
        found = mine or theirs
        assert found is not None
        return TaskDifference(
            task=task,
            recorded=mine.score if mine else None,
            repeated=theirs.score if theirs else None,
            num_items=found.num_items,
            num_changed=found.num_items,
            largest_item=None,
            is_same=False,
        )
    changed = [place for place, (a, b) in enumerate(zip(_items(mine), _items(theirs), strict=False)) if a != b]
    gaps = [abs(mine.values[place] - theirs.values[place]) for place in changed] if mine.values else []
    return TaskDifference(
        task=task,
        recorded=mine.score,
        repeated=theirs.score,
        num_items=mine.num_items,
        num_changed=len(changed),
        largest_item=max(gaps, default=0.0),
        is_same=mine == theirs,
    )


def _scores(folder: Path, task: str) -> ItemScores | None:
    path = items_path(folder, task)
    return load_record(ItemScores, path) if path.is_file() else None


def _items(record: ItemScores) -> list[object]:
    """Return what a record says of each item: its value, or the clusters that it is in."""
    return list(record.values or zip(*record.assignments, strict=True))
