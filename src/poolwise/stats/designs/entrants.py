"""The entrants and tasks of a comparison: runs grouped by design or model, checked, with notes on what is left out."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

from poolwise.design import Design, parse_design
from poolwise.errors import EvalError, collect
from poolwise.records import CATEGORIES, ItemScores, Run
from poolwise.stats.designs.task_families import family_of


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
    def variant(self) -> str:
        """What tells it from another entrant of its design and base: another training, or its place; may be empty."""
        return re.sub(r"^adapted( \w+)?(, )?", "", self.runs[0].manifest.variant)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.manifest.seed for run in self.runs)

    @property
    def is_fixed(self) -> bool:
        """Whether all seeds give the same scores: nothing was trained, or a baseline's row was repeated."""
        if all(run.manifest.trainable_parameters == 0 for run in self.runs):
            return True
        first, *others = self.runs
        return bool(others) and all(_same_scores(first, run) for run in others)

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is one given model, not a sample of the models that a design's training could give."""
        return self.design is None and len(self.runs) == 1

    def has(self, task: str) -> bool:
        """Return whether every seed was scored on a task."""
        return all(task in run.scores for run in self.runs)

    def records(self, task: str) -> list[ItemScores]:
        """Return the scores on one task, one record for each seed."""
        return [run.scores[task] for run in self.runs]


def _same_scores(one: Run, two: Run) -> bool:
    return one.scores.keys() == two.scores.keys() and all(
        (record.score, record.values) == (two.scores[task].score, two.scores[task].values)
        for task, record in one.scores.items()
    )


@dataclass(frozen=True)
class Field:
    """The entrants and their tasks by category; ``notes`` says what was left out, and why.

    ``tasks``: those that at least two entrants have. ``shared``: those that all have; means are over these.
    """

    entrants: tuple[Entrant, ...]
    anchors: tuple[Entrant, ...]
    tasks: Mapping[str, list[str]]
    shared: Mapping[str, list[str]]
    notes: list[str] = field(default_factory=list)

    def common(self, category: str, *names: str) -> list[str]:
        """Return the tasks of a category that all the named entrants have, one version of each."""
        return _newest([task for task in self.tasks[category] if all(self[name].has(task) for name in names)])

    def __getitem__(self, name: str) -> Entrant:
        return self._by_name[name]

    def shared_by_any(self, category: str) -> list[str]:
        """Return one version of each task of a category that at least two entrants have."""
        return _newest(self.tasks[category])

    @cached_property
    def scale(self) -> float:
        """100 if the scores are percentages, 1 if they are fractions."""
        records = (record for entrant in self.entrants for run in entrant.runs for record in run.scores.values())
        return 100.0 if any(_top(record) > 1 + 1e-6 for record in records) else 1.0

    @property
    def names(self) -> list[str]:
        return [entrant.name for entrant in self.entrants]

    @cached_property
    def _by_name(self) -> dict[str, Entrant]:
        return {entrant.name: entrant for entrant in (*self.anchors, *self.entrants)}


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
    owned = Counter(task for entrant in entrants for task in entrant.runs[0].scores if entrant.has(task))
    tasks = _by_category(entrants, [task for task, count in owned.items() if count > 1 or len(entrants) == 1])
    if not tasks:
        raise EvalError("the models have no task in common", hint="evaluate them on the same tasks")
    shared = {
        category: _newest([task for task in names if all(entrant.has(task) for entrant in entrants)])
        for category, names in tasks.items()
    }
    alone = {task for task, count in owned.items() if count == 1 and len(entrants) > 1}
    notes = [*_lonely_notes(entrants, alone), *_version_notes(entrants, tasks)]
    notes += [*_missing_notes(entrants, tasks), *_source_notes(tasks)]
    return Field(entrants, anchors, tasks, shared, [*notes, *_anchor_notes(anchors, shared), *_seed_notes(entrants)])


def _by_category(entrants: Sequence[Entrant], names: Sequence[str]) -> dict[str, list[str]]:
    kinds = {task: record.category for one in entrants for run in one.runs for task, record in run.scores.items()}
    by_category = {category: [task for task in sorted(names) if kinds[task] == category] for category in CATEGORIES}
    return {category: tasks for category, tasks in by_category.items() if tasks}


def _newest(tasks: Sequence[str]) -> list[str]:
    """Return the tasks with one version of each, the newest: two versions of a task are not two tasks."""
    latest: dict[str, str] = {}
    for task in tasks:
        earlier = latest.setdefault(family_of(task).task, task)
        latest[family_of(task).task] = max(earlier, task, key=lambda name: (family_of(name).version, name))
    return [task for task in tasks if latest[family_of(task).task] == task]


def _version_notes(entrants: Sequence[Entrant], tasks: Mapping[str, Sequence[str]]) -> list[str]:
    notes = {}
    for names in tasks.values():
        for entrant in entrants:
            owned = [task for task in names if entrant.has(task)]
            kept = {family_of(task).task: task for task in _newest(owned)}
            for task in owned:
                if (newest := kept[family_of(task).task]) != task:
                    notes[f"{task} and {newest} are versions of one task: where a model has both, {newest} is used"] = 0
    return list(notes)


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
    if one.ids and two.ids and one.ids != two.ids and set(one.ids) != set(two.ids):
        only_one, only_two = set(one.ids) - set(two.ids), set(two.ids) - set(one.ids)
        shown = sorted(only_one)[:3] + sorted(only_two)[:3]
        counts = f"{len(only_one)} only in the first, {len(only_two)} only in the second, e.g. {shown}"
        common = "; `compare --intersect` uses those that all have" if set(one.ids) & set(two.ids) else ""
        return f"different items ({counts}{common})"
    if one.fingerprint != two.fingerprint:
        return f"different data (fingerprint {one.fingerprint} against {two.fingerprint})"
    return ""


def _lonely_notes(entrants: Sequence[Entrant], alone: Set[str]) -> list[str]:
    """Return a note for each entrant that has tasks which no other has."""
    return [
        f"only {entrant.name} has {', '.join(tasks)}, which {'is' if len(tasks) == 1 else 'are'} left out"
        for entrant in entrants
        if (tasks := sorted(task for task in alone if entrant.has(task)))
    ]


def _missing_notes(entrants: Sequence[Entrant], tasks: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a note on the tasks that some entrants lack, by the entrants that lack them."""
    lacking: dict[str, list[str]] = {}
    for task in (task for names in tasks.values() for task in names):
        if absent := [entrant.name for entrant in entrants if not entrant.has(task)]:
            lacking.setdefault(", ".join(absent), []).append(task)
    return [
        f"{names} {'lack' if ', ' in names else 'lacks'} {', '.join(missing)}: means are without these, and a pair is "
        "compared on the tasks that both have"
        for names, missing in lacking.items()
    ]


def _source_notes(tasks: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a note on the sets of tasks that are made of the same texts; none if there are none."""
    sources: dict[str, list[str]] = {}
    for task in (task for names in tasks.values() for task in names):
        sources.setdefault(family_of(task).source, []).append(task)
    together = [" with ".join(names) for names in sources.values() if len(names) > 1]
    return [f"tasks made of the same texts count as one unit over tasks: {'; '.join(together)}"] if together else []


def _anchor_notes(anchors: Sequence[Entrant], shared: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"{anchor.name}: no score on {', '.join(absent)}"
        for anchor in anchors
        if (absent := [task for names in shared.values() for task in names if not anchor.has(task)])
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
            f"the scores of {', '.join(fixed)} are the same at every seed, so they are not used to estimate the spread "
            "over seeds of the others"
        )
    if len(by_seeds) > 1:
        listed = "; ".join(f"{', '.join(names)}: {', '.join(map(str, seeds))}" for seeds, names in by_seeds.items())
        notes.append(f"seeds differ ({listed}): each mean is over the seeds of its design")
    return notes
