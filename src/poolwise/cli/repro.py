"""``poolwise repro``: runs one cell of a study again, and says whether it is the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poolwise.cli.options import Json, show, show_json, study_view

if TYPE_CHECKING:
    from poolwise.study.differences import RunDifferences, TaskDifference
    from poolwise.study.repeat import Repetition

EXAMPLES = (
    "poolwise repro runs/quickstart --cell last+causal-s0",
    "poolwise repro runs/quickstart --cell anchor-untuned --json",
)
_DIFFERENT = 1


def repro(
    run: Annotated[Path, typer.Argument(help="Run of a study (STUDY/runs/NAME), or the study with --cell.")],
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="With a study: a folder below runs/, or how it begins.", show_default="its only run"
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="How far the score of a task may move before the run counts as different.")
    ] = 0.01,
    as_json: Json = False,
) -> None:
    """Train and evaluate one run of a study again, and say whether it is the same, bit for bit, or how it differs.

    The study is only read. Exit code 0: the same, or every score within the tolerance; 1: different.
    """
    from poolwise.study.repeat import locate_run, repeat_run

    study, name = locate_run(run, cell)  # before torch is imported, which takes seconds
    from poolwise.screening.screen import course_of

    with study_view() as progress:
        found = repeat_run(study, name, course_of(study), tolerance, progress)
    if as_json:
        show_json(json.loads(found.model_dump_json()))
    else:
        for line in _lines(found):
            show(line)
    if not found.is_within:
        raise typer.Exit(_DIFFERENT)


def _lines(found: Repetition) -> Iterator[str]:
    tasks = found.runs[-1].tasks
    if found.is_same:
        steps, tensors = found.runs[-1].num_steps, found.runs[-1].weights.num_tensors
        parts = [f"{steps} steps"] * bool(steps) + [f"{tensors} tensors of weights"] * bool(tensors)
        items = f"{sum(task.num_items for task in tasks)} items of {len(tasks)} tasks"
        yield f"same, bit for bit: {found.label} ({', '.join([*parts, items])})"
        return
    worst = max((task.amount for task in tasks), default=0.0)
    verdict = "within the tolerance" if found.is_within else "different"
    yield f"{verdict}: {found.label}; scores differ by at most {worst:.4f} ({found.tolerance:g} is allowed)"
    for run in found.runs:
        yield from (f"  {line}" for line in _run_lines(run))
    yield from (f"  {line}" for line in found.circumstances)


def _run_lines(run: RunDifferences) -> Iterator[str]:
    if (step := run.first_step) is not None:
        values = f"{_number(step.recorded)} there, {_number(step.repeated)} here"
        yield f"{run.run}: from step {step.step} of {run.num_steps} on: {step.field} {values}"
    if weights := run.weights.num_changed:
        far = "in names or shapes"
        if run.weights.largest is not None:
            far = f"by at most {run.weights.largest:.2g}; all together by {run.weights.relative:.2g} of their length"
        yield f"{run.run}: {weights} of {run.weights.num_tensors} tensors of weights differ, {far}"
    if run.facts:
        yield f"{run.run}: also {', '.join(run.facts)} of run.json"
    yield from (f"{task.task}: {_task(task)}" for task in run.tasks if not task.is_same)


def _task(task: TaskDifference) -> str:
    largest = f", by at most {task.largest_item:.2g}" if task.largest_item is not None else ""
    items = f"{task.num_changed} of {task.num_items} items differ{largest}"
    return f"{_number(task.recorded)} there, {_number(task.repeated)} here; {items}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
