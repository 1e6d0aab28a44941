"""The entrants and tasks of a comparison: runs grouped by design or model, checked, with notes on what is left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from poolwise.design import Design, parse_design
from poolwise.errors import EvalError, collect
from poolwise.records import CATEGORIES, ItemScores, Run


@dataclass(frozen=True)
class Entrant:
    """One design, foreign model or baseline with its runs, in order of seed."""

    name: str
    runs: tuple[Run, ...]

    @property
    def is_anchor(self) -> bool:
        return self.runs[0].manifest.kind == "anchor"

    @property
    def design(self) -> Design | None:
        """The design, or None for a model known only by name."""
        text = self.runs[0].manifest.design
        return parse_design(text) if text else None

    @property
    def adaptation(self) -> str:
        """Key of the adaptation of its base; empty if it was trained from the plain base."""
        return self.runs[0].manifest.adaptation

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.manifest.seed for run in self.runs)

    @property
    def is_fixed(self) -> bool:
        """Whether nothing was trained (a fixed pooling on a frozen base), so that all seeds give the same scores."""
        return all(run.manifest.trainable_parameters == 0 for run in self.runs)

    def records(self, task: str) -> list[ItemScores]:
        """Return the scores on one task, one record for each seed."""
        return [run.scores[task] for run in self.runs]


@dataclass(frozen=True)
class Field:
    """The entrants and their common tasks by category; ``notes`` says what was left out, and why."""

    entrants: tuple[Entrant, ...]
    anchors: tuple[Entrant, ...]
    tasks: Mapping[str, list[str]]
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Entrant:
        return next(entrant for entrant in (*self.entrants, *self.anchors) if entrant.name == name)

    @property
    def scale(self) -> float:
        """100 if the scores are percentages, 1 if they are fractions."""
        records = (record for entrant in self.entrants for run in entrant.runs for record in run.scores.values())
        return 100.0 if any(_top(record) > 1 + 1e-6 for record in records) else 1.0

    @property
    def names(self) -> list[str]:
        return [entrant.name for entrant in self.entrants]


def _top(record: ItemScores) -> float:
    """Return the largest score, of items too if the score is their mean, since a mean in percent can be below 1."""
    values = record.values if record.category in ("retrieval", "reranking", "classification") else []
    return max(map(abs, (record.score, *values)))


def gather(runs: Sequence[Run]) -> Field:
    """Return the entrants of ``runs`` and the tasks on which they can be compared.

    Runs of one design (or, without a design, one name) are the seeds of one entrant.
    Raises: EvalError if there is nothing to compare, a run is given twice, a score is not finite, or two models
        have different texts, items, metric or scale for one task.
    """
    everyone = _entrants(runs)
    entrants = tuple(entrant for entrant in everyone if not entrant.is_anchor)
    anchors = tuple(entrant for entrant in everyone if entrant.is_anchor)
    if not entrants:
        raise EvalError(f"no designs or models among {len(runs)} run(s)", hint="give at least one evaluated model")
    problems = [*_bad_scores(runs), *_mixed_scales(runs), *_different_tasks(runs)]
    collect(problems, EvalError, "these runs cannot be compared", "evaluate the models again on the same tasks")
    common, notes = _common_tasks(entrants)
    if not common:
        raise EvalError("the models have no task in common", "; ".join(notes), "evaluate them on the same tasks")
    kinds = {task: entrants[0].runs[0].scores[task].category for task in common}
    tasks: dict[str, list[str]] = {c: [task for task in common if kinds[task] == c] for c in CATEGORIES}
    tasks = {category: names for category, names in tasks.items() if names}
    return Field(entrants, anchors, tasks, [*notes, *_anchor_notes(anchors, common), *_seed_notes(entrants)])


def _entrants(runs: Sequence[Run]) -> list[Entrant]:
    grouped: dict[str, dict[int, Run]] = {}
    problems = []
    for run in runs:
        name, seed = run.manifest.label, run.manifest.seed
        seeds = grouped.setdefault(name, {})
        if seed in seeds:
            problems.append(f"{name}, seed {seed}, is given twice ({seeds[seed].manifest.name}, {run.manifest.name})")
        elif seeds and next(iter(seeds.values())).manifest.kind != run.manifest.kind:
            problems.append(f"{name} is {run.manifest.kind} in one run and not in another")
        else:
            seeds[seed] = run
    collect(problems, EvalError, "runs repeat", "give each run once, or other names to other models")
    return [Entrant(name, tuple(seeds[seed] for seed in sorted(seeds))) for name, seeds in grouped.items()]


def _bad_scores(runs: Sequence[Run]) -> list[str]:
    return [
        f"{run.manifest.name} on {task}: a score is NaN or infinite"
        for run in runs
        for task, record in run.scores.items()
        if not all(map(math.isfinite, (record.score, *record.values)))
    ]


def _mixed_scales(runs: Sequence[Run]) -> list[str]:
    """Find fractions mixed with percentages: a run with any score above 1 is read as percentages."""
    top = {run.manifest.name: max((abs(record.score) for record in run.scores.values()), default=0.0) for run in runs}
    percent = [name for name, score in top.items() if score > 1 + 1e-6]
    fractions = [name for name, score in top.items() if 0 < score <= 1 + 1e-6]
    if not percent or not fractions:
        return []
    return [f"scales are mixed: {percent[0]} scores up to {top[percent[0]]:g}, {fractions[0]} at most 1"]


def _different_tasks(runs: Sequence[Run]) -> list[str]:
    first: dict[str, Run] = {}
    problems = []
    for run in runs:
        for task, record in run.scores.items():
            earlier = first.setdefault(task, run)
            if difference := _difference(earlier.scores[task], record):
                problems.append(f"{task}: {difference} in {earlier.manifest.name} and in {run.manifest.name}")
    return problems


def _difference(one: ItemScores, two: ItemScores) -> str:
    """Return why two records are not scores on the same task; empty if they are."""
    if (one.category, one.metric) != (two.category, two.metric):
        return f"{one.category} {one.metric} against {two.category} {two.metric}"
    if one.fingerprint != two.fingerprint:
        return f"different data (fingerprint {one.fingerprint} against {two.fingerprint})"
    if one.ids and two.ids and one.ids != two.ids and set(one.ids) != set(two.ids):
        only_one, only_two = set(one.ids) - set(two.ids), set(two.ids) - set(one.ids)
        shown = sorted(only_one)[:3] + sorted(only_two)[:3]
        return f"different items ({len(only_one)} only in the first, {len(only_two)} only in the second, e.g. {shown})"
    return ""


def _common_tasks(entrants: Sequence[Entrant]) -> tuple[list[str], list[str]]:
    """Return the tasks that all runs of all entrants have, sorted by name, and a note on each other task."""
    owned = [(run.manifest.name, set(run.scores)) for entrant in entrants for run in entrant.runs]
    everything = set().union(*(tasks for _, tasks in owned))
    common = everything.intersection(*(tasks for _, tasks in owned))
    notes = [
        f"{task} is left out: missing in {', '.join(name for name, tasks in owned if task not in tasks)}"
        for task in sorted(everything - common)
    ]
    return sorted(common), notes


def _anchor_notes(anchors: Sequence[Entrant], common: Sequence[str]) -> list[str]:
    return [
        f"{anchor.name}: no score on {', '.join(absent)}"
        for anchor in anchors
        if (absent := [task for task in common if any(task not in run.scores for run in anchor.runs)])
    ]


def _seed_notes(entrants: Sequence[Entrant]) -> list[str]:
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for entrant in entrants:
        by_seeds.setdefault(entrant.seeds, []).append(entrant.name)
    notes = []
    # A foreign model is one checkpoint; a design is more than one trained checkpoint.
    if single := [entrant.name for entrant in entrants if len(entrant.seeds) == 1 and entrant.design]:
        notes.append(
            f"only one seed ({', '.join(single)}): the variation of scores with the training seed is unknown, so a "
            "difference may come from these checkpoints rather than from the designs"
        )
    if fixed := [entrant.name for entrant in entrants if len(entrant.seeds) > 1 and entrant.is_fixed]:
        notes.append(
            f"nothing was trained in {', '.join(fixed)}: the scores are the same at every seed and are not used to "
            "estimate the spread over seeds of the others"
        )
    if len(by_seeds) > 1:
        listed = "; ".join(f"{', '.join(names)}: {', '.join(map(str, seeds))}" for seeds, names in by_seeds.items())
        notes.append(f"seeds differ ({listed}): each mean is over the seeds of its design")
    return notes
