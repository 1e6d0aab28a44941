"""Describes what was found in each input: lines for users, and ``inputs`` of ``compare --json`` for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.foreign.read_inputs import Inputs, missing_tasks
from poolwise.foreign.source import KINDS, Source
from poolwise.records import ItemScores, Run

NO_TEST = "none: one model only"


def input_entries(inputs: Inputs) -> list[dict[str, object]]:
    """Return one entry per input: kind, models, tasks, items, revisions, what is missing or left out, and tests."""
    missing = missing_tasks(inputs.runs)
    tests = allowed_tests(inputs.runs)
    return [_entry(source, missing, tests) for source in inputs.sources]


def _entry(source: Source, missing: Mapping[str, list[str]], tests: list[str]) -> dict[str, object]:
    records = [record for run in source.runs for record in run.scores.values()]
    return {
        "path": str(source.path),
        "kind": source.kind,
        "runs": len(source.runs),
        "models": source.models,
        "seeds": sorted({run.manifest.seed for run in source.runs}),
        "tasks": source.tasks,
        "items": {task: _items(records, task) for task in source.tasks},
        "revisions": source.revisions,
        "missing": {name: missing[name] for name in source.models if missing.get(name)},
        "left_out": source.left_out,
        "notes": source.notes,
        "tests": tests,
        **source.details,
    }


def _items(records: Sequence[ItemScores], task: str) -> int | None:
    """Return the number of items of a task; None if only its score is known."""
    return max((record.num_items for record in records if record.task == task), default=0) or None


def input_lines(inputs: Inputs) -> list[str]:
    """Return the lines for standard error: one per input, tasks missing per model, notes, and the possible tests."""
    lines = source_lines(inputs)
    for name, tasks in missing_tasks(inputs.runs).items():
        if tasks:
            lines.append(f"missing in {name}: {', '.join(tasks)}")
    return [*lines, *(f"note: {note}" for note in inputs.notes), f"tests: {'; '.join(allowed_tests(inputs.runs))}"]


def source_lines(inputs: Inputs) -> list[str]:
    """Return one line per input: its kind, models, tasks, items, and the revisions that were read."""
    return [_source_line(source) for source in inputs.sources]


def _source_line(source: Source) -> str:
    records = [record for run in source.runs for record in run.scores.values()]
    with_items = {record.task for record in records if record.ids}
    items = f"items on {len(with_items)}" if with_items else "scores without items"
    layouts = source.details.get("layouts")
    kind = KINDS[source.kind] + (f" ({', '.join(layouts)})" if isinstance(layouts, list) else "")
    if source.kind == "qrels":
        return f"{source.path}: {kind}"
    if not source.runs:
        return f"{source.path}: {kind}: nothing that can be compared"
    revisions = [revision[:8] for found in source.revisions.values() for revision in found]
    of = f", revisions {', '.join(revisions)}" if revisions else ""
    names = f"{len(source.models)} models" if len(source.models) > 3 else ", ".join(source.models)
    seeds = {run.manifest.seed for run in source.runs}
    with_seeds = f", {len(seeds)} seeds" if len(seeds) > 1 else ""
    tasks = f"{len(source.tasks)} task{'s' if len(source.tasks) != 1 else ''}"
    return f"{source.path}: {kind}: {names}{with_seeds}, {tasks}, {items}{of}"


def allowed_tests(runs: Sequence[Run]) -> list[str]:
    """Return in words which tests are possible, from the tasks, items and seeds that all models have."""
    taking_part = [run for run in runs if run.manifest.kind != "anchor"]
    names = {run.manifest.label for run in taking_part}
    if len(names) < 2:
        return [NO_TEST]
    common = set.intersection(*(set(run.scores) for run in taking_part))
    by_category: dict[str, int] = {}
    for task in common:
        category = taking_part[0].scores[task].category
        by_category[category] = by_category.get(category, 0) + 1
    listed = ", ".join(f"{category} {count}" for category, count in sorted(by_category.items()))
    with_items = sorted(task for task in common if all(run.scores[task].ids for run in taking_part))
    tests = [f"over tasks ({listed})" if common else "none over tasks: no task is common to all models"]
    tests.append(f"within {len(with_items)} of {len(common)} tasks" if with_items else "none within tasks: no items")
    return tests
