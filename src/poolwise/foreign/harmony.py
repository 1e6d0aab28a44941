"""Makes sources of several tools comparable, and reports obstacles: scales, metrics, data that cannot be checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from poolwise.errors import EvalError, collect
from poolwise.foreign.intersection import intersected
from poolwise.foreign.mteb_tasks import FORUMS, MAX_AP, forums
from poolwise.foreign.source import NO_METRIC, UNCHECKED, Source
from poolwise.records import METRICS, ItemScores, Run

UNIT = 1 + 1e-6


def joined(
    sources: Sequence[Source], intersect: bool = False, *, is_benchmark: bool = False
) -> tuple[list[Run], list[str]]:
    """Return the runs of all sources, made comparable where possible, and notes on changes and unknowns.

    Parts of one foreign model from several inputs become one run if they have no task in common.

    Args:
        intersect: cut each task to the items that all models have.
        is_benchmark: the tasks are those of a benchmark, which averages tasks of different metrics.
    Raises: EvalError where a task's scores are fractions in one place and percentages in another.
    """
    runs, notes = _merged([(run, source) for source in sources for run in source.runs])
    cuts = (intersected,) if intersect else ()
    metrics = (_same_metric,) if is_benchmark else (_one_metric, _same_metric)
    for fold in (_fold_forums, *metrics, *cuts, _same_groups, _same_fingerprint):
        runs, found = fold(runs)
        notes += found
    collect(
        _mixed_scales(runs), EvalError, "scales are mixed (fractions and percentages)", "divide the percentages by 100"
    )
    return runs, [*notes, *_data_revisions(runs)]


def _merged(found: Sequence[tuple[Run, Source]]) -> tuple[list[Run], list[str]]:
    merged: list[Run] = []
    origins: list[list[str]] = []
    for run, source in found:
        place = next((number for number, other in enumerate(merged) if _is_part(run, other)), None)
        if place is None:
            merged.append(run)
            origins.append([str(source.path)])
        else:
            merged[place] = _with_scores(merged[place], merged[place].scores | run.scores)
            origins[place].append(str(source.path))
    together = zip(merged, origins, strict=True)
    return merged, [
        f"{run.manifest.name}: {', '.join(paths)} are read as parts of one model, since they use the same name"
        for run, paths in together
        if len(paths) > 1
    ]


def _is_part(run: Run, other: Run) -> bool:
    one, two = run.manifest, other.manifest
    is_same = (one.kind, one.design, one.name, one.seed) == (two.kind, two.design, two.name, two.seed)
    return is_same and one.kind == "external" and not run.scores.keys() & other.scores.keys()


def _with_scores(run: Run, scores: Mapping[str, ItemScores]) -> Run:
    return run.model_copy(update={"scores": dict(sorted(scores.items()))})


def _fold_forums(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Merge the twelve CQADupstack forums into one task, as in MTEB; they are not independent tasks."""
    parts = {f"retrieval/{name}" for name in forums()}
    having = [run for run in runs if parts & run.scores.keys()]
    if not having:
        return list(runs), []
    if any(not parts <= run.scores.keys() for run in having):
        found = sorted({name.partition("/")[2] for run in having for name in parts & run.scores.keys()})
        if len(found) == 1:
            return list(runs), [f"{found[0]} is one of the twelve forums of CQADupstack; MTEB's task is their mean"]
        return list(runs), [
            "the forums of CQADupstack are counted as separate tasks, since not every model has all twelve"
        ]
    folded = [_folded(run, sorted(parts)) if parts <= run.scores.keys() else run for run in runs]
    return folded, ["the twelve forums of CQADupstack count as one task, with their mean, as in MTEB"]


def _folded(run: Run, parts: Sequence[str]) -> Run:
    scores = {name: record for name, record in run.scores.items() if name not in parts}
    first = run.scores[parts[0]]
    mean = sum(run.scores[name].score for name in parts) / len(parts)
    whole = ItemScores(
        task=f"retrieval/{FORUMS}",
        category=first.category,
        metric=first.metric,
        score=mean,
        num_total=0,
        fingerprint="mteb test default",
        ids=[],
    )
    return _with_scores(run, {whole.task: whole} | scores)


def _one_metric(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Leave out tasks with another metric than their category's, beside tasks that have it: their mean has no meaning.

    Tasks of runs of our own are kept: a study declares its tasks and their metrics.
    """
    kinds: dict[str, dict[str, None]] = {}
    foreign = [run for run in runs if run.manifest.kind == "external" and not run.manifest.design]
    for record in (record for run in foreign for record in run.scores.values()):
        kinds.setdefault(record.category, {})[record.metric] = None
    usual = {category: {METRICS[category], NO_METRIC, MAX_AP} for category in METRICS}
    odd = {
        (record.task, record.metric): METRICS[record.category]
        for run in foreign
        for record in run.scores.values()
        if METRICS[record.category] in kinds[record.category] and record.metric not in usual[record.category]
    }
    kept = [
        _with_scores(run, {name: r for name, r in run.scores.items() if (name, r.metric) not in odd}) for run in runs
    ]
    return kept, [
        f"{task} is left out: its metric is {metric}, which cannot be averaged with {wanted}"
        for (task, metric), wanted in sorted(odd.items())
    ]


def _same_metric(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Use cosine average precision from MTEB's files where another run has only that."""
    metrics = _by_task(runs, lambda record: record.metric)
    wanted = {task for task, found in metrics.items() if {MAX_AP, "cosine_ap"} <= found}
    result = [_with_scores(run, {name: _cosine(r, name in wanted) for name, r in run.scores.items()}) for run in runs]
    return result, [f"{task}: cosine average precision, not MTEB's best of several similarities" for task in wanted]


def _cosine(record: ItemScores, is_wanted: bool) -> ItemScores:
    score = record.settings.get("cosine_ap")
    if not is_wanted or record.metric != MAX_AP or not isinstance(score, float):
        return record
    return record.model_copy(update={"metric": "cosine_ap", "score": score})


def _same_groups(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Give scores without groups those that another input has for the same items, with a note."""
    known: dict[str, dict[str, str]] = {}
    for record in (record for run in runs for record in run.scores.values() if record.group):
        known.setdefault(record.task, dict(zip(record.ids, record.group, strict=True)))
    taken: set[str] = set()

    def grouped(record: ItemScores) -> ItemScores:
        groups = known.get(record.task, {})
        if record.group or not record.ids or not groups.keys() >= set(record.ids):
            return record
        taken.add(record.task)
        return record.model_copy(update={"group": [groups[name] for name in record.ids]})

    result = [_with_scores(run, {name: grouped(record) for name, record in run.scores.items()}) for run in runs]
    note = "items that depend on each other are named by one input and taken so for all"
    return result, [f"{note}: {', '.join(sorted(taken))}"] if taken else []


def _same_fingerprint(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Give scores without data the fingerprint of the data that other runs scored, with a note."""
    found = _by_task(runs, lambda record: record.fingerprint)
    checked = {task: {mark for mark in marks if mark.split()[0] not in UNCHECKED} for task, marks in found.items()}
    taken = {
        task: min(checked[task] or {"unchecked"})
        for task, marks in found.items()
        if len({mark.split()[0] for mark in marks}) > 1 and len(checked[task]) < len(marks)
    }
    result = [_with_scores(run, {name: _marked(r, taken) for name, r in run.scores.items()}) for run in runs]
    note = "cannot check that all models were scored on the same data, since some inputs give only scores"
    return result, [f"{note}: {', '.join(sorted(taken))}"] if taken else []


def _marked(record: ItemScores, taken: Mapping[str, str]) -> ItemScores:
    if record.task not in taken or record.fingerprint.split()[0] not in UNCHECKED:
        return record
    return record.model_copy(update={"fingerprint": taken[record.task]})


def _by_task(runs: Sequence[Run], read: Callable[[ItemScores], str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for run in runs:
        for task, record in run.scores.items():
            found.setdefault(task, set()).add(read(record))
    return found


def _data_revisions(runs: Sequence[Run]) -> list[str]:
    """Return a note for each task whose models were evaluated on different revisions of its data."""
    notes = []
    for task in sorted({task for run in runs for task in run.scores}):
        by_revision: dict[str, list[str]] = {}
        for run in runs:
            record = run.scores.get(task)
            if record and (revision := record.settings.get("dataset_revision")):
                by_revision.setdefault(str(revision)[:8], []).append(run.manifest.name)
        if len(by_revision) > 1:
            listed = "; ".join(f"{revision}: {', '.join(names)}" for revision, names in by_revision.items())
            notes.append(f"{task}: the revisions of the data differ ({listed}), so the texts may differ")
    return notes


def _mixed_scales(runs: Sequence[Run]) -> list[str]:
    """Return places where fractions and percentages are mixed, within a task or between tasks."""
    problems = []
    tops: dict[str, dict[str, float]] = {}
    for run in runs:
        for task, record in run.scores.items():
            label = f"{run.manifest.name} (seed {run.manifest.seed})"
            tops.setdefault(task, {})[label] = _top(record)
    for task, top in tops.items():
        low, high = min(top, key=lambda n: top[n]), max(top, key=lambda n: top[n])
        if 0 < top[low] <= UNIT < top[high]:
            problems.append(f"{task}: the largest score of {low} is {top[low]:g}, that of {high} is {top[high]:g}")
    if problems:
        return problems
    return _mixed_tasks({task: max(top.values()) for task, top in tops.items()})


def _mixed_tasks(tops: Mapping[str, float]) -> list[str]:
    low = [task for task, top in tops.items() if 0 < top <= UNIT]
    high = [task for task, top in tops.items() if top > UNIT]
    return (
        [f"the largest score of {low[0]} is {tops[low[0]]:g}, that of {high[0]} is {tops[high[0]]:g}"]
        if low and high
        else []
    )


def _top(record: ItemScores) -> float:
    values: Iterable[float] = record.values if record.metric != "cosine_spearman" else ()
    return max(map(abs, (record.score, *values)))
