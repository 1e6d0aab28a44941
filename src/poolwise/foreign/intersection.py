"""Cuts tasks to the items that all models have, and computes the scores again from these items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from poolwise.errors import EvalError, collect
from poolwise.foreign.source import UNCHECKED
from poolwise.records import ItemScores, Run
from poolwise.stats.designs.alignment import build_table, why_no_items
from poolwise.stats.designs.procedures import PROCEDURES

SAME = 1e-5
"""Largest gap between a score and what its items give; float32 sums of rank metrics are exact to about 1e-6."""
SUBSET = ("max_items", "subset_seed", "num_corpus_total")
"""Settings that only say which items were drawn."""
MOST_NAMED = 3


def intersected(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs with every task cut to the items that all models have, and a note for each task that was cut.

    A score is computed again from the items kept, by the metric of its category. A model of which only the score is
    known loses the task, because that score is of all its items. A task is left out where no item is common, or where
    the score is no function of the items.

    Raises: EvalError where the gold scores of an item differ between two models.
    """
    scores = [dict(run.scores) for run in runs]
    labels = [run.manifest.label for run in runs]
    notes, problems = [], []
    for task in sorted({task for own in scores for task in own}):
        mine = {place: own[task] for place, own in enumerate(scores) if task in own}
        listed = {place: record for place, record in mine.items() if record.ids}
        if len({frozenset(record.ids) for record in listed.values()}) < 2:
            continue
        kept = sorted(frozenset.intersection(*(frozenset(record.ids) for record in listed.values())))
        cut = {place: _cut(record, kept) for place, record in listed.items()}
        if why := _why_not(list(listed.values()), list(cut.values())):
            notes.append(f"{task} is left out: its items differ between models, and {why}")
            cut = {}
        elif found := _different_gold([(labels[place], record) for place, record in cut.items()]):
            problems.append(f"{task}: {found}")
        else:
            cut = dict(zip(cut, _scored(list(cut.values())), strict=True))
            notes.append(f"{task}: {_said(labels, mine, kept)}")
        for place in mine:
            del scores[place][task]
            scores[place] |= {task: cut[place]} if place in cut else {}
    collect(problems, EvalError, "the models were not scored on the same data", "evaluate them again on the same data")
    return [
        run.model_copy(update={"scores": dict(sorted(own.items()))}) for run, own in zip(runs, scores, strict=True)
    ], notes


def _cut(record: ItemScores, kept: Sequence[str]) -> ItemScores:
    """Return a record of some of its items, with the score of all."""
    place = {name: row for row, name in enumerate(record.ids)}
    rows = [place[name] for name in kept]
    return record.model_copy(
        update={
            "ids": list(kept),
            "values": [record.values[row] for row in rows] if record.values else [],
            "gold": [record.gold[row] for row in rows] if record.gold else [],
            "group": [record.group[row] for row in rows] if record.group else [],
            "assignments": [[numbers[row] for row in rows] for numbers in record.assignments],
            "scores_by_seed": [],
        }
    )


def _why_not(whole: Sequence[ItemScores], cut: Sequence[ItemScores]) -> str:
    """Return why scores cannot be computed from the items that are left; empty if they can."""
    if not cut[0].ids:
        return "no item is common to all"
    settings = [
        {name: value for name, value in record.settings.items() if name not in SUBSET}
        for record in whole
        if record.fingerprint.split()[0] not in UNCHECKED
    ]
    for name in sorted({name for own in settings for name in own}):
        found = list(dict.fromkeys(str(own.get(name)) for own in settings))
        if len(found) > 1:
            what = "the number of documents searched" if name == "num_corpus" else name.replace("_", " ")
            return f"{what} differs too ({found[0]} against {found[1]})"
    for record in (*whole, *cut):
        if reason := why_no_items({"a model": [record]}):
            return reason
    if any(abs(_score(record) - record.score) > SAME * max(1.0, abs(record.score)) for record in whole):
        return f"{whole[0].metric} cannot be computed from the scores of its items"
    return ""


def _score(record: ItemScores) -> float:
    """Return the score that the items give, by the metric of the category."""
    ungrouped = record.model_copy(update={"group": []})
    return float(PROCEDURES[record.category].scores(build_table({"": [ungrouped]}))[0])


def _different_gold(records: Sequence[tuple[str, ItemScores]]) -> str:
    (first, one), *others = records
    for name, two in others:
        if one.gold and two.gold and list(one.gold) != list(two.gold):
            item = next(i for i, (a, b) in enumerate(zip(one.gold, two.gold, strict=True)) if a != b)
            return f"gold of item {one.ids[item]!r} is {one.gold[item]} in {first} and {two.gold[item]} in {name}"
    return ""


def _scored(cut: Sequence[ItemScores]) -> list[ItemScores]:
    """Return the records with the scores of the items kept, common groups and a common fingerprint."""
    group = _common_groups(cut)
    checked = [record.fingerprint for record in cut if record.fingerprint.split()[0] not in UNCHECKED]
    return [
        record.model_copy(
            update={
                "score": _score(record),
                "group": group,
                "fingerprint": checked[0] if record.fingerprint in checked else record.fingerprint,
            }
        )
        for record in cut
    ]


def _common_groups(records: Sequence[ItemScores]) -> list[str]:
    """Return a group for each item: items are together if they are so for any model.

    Names of groups cannot be compared, because they may depend on the items that were left out.
    """
    first = records[0].group
    if all(record.group == first for record in records):
        return first
    size = len(records[0].ids)
    nodes: dict[tuple[int, str], int] = {}
    links = [
        (item, size + nodes.setdefault((number, name), len(nodes)))
        for number, record in enumerate(records)
        for item, name in enumerate(record.group)
    ]
    shape = size + len(nodes), size + len(nodes)
    graph = coo_array((np.ones(len(links)), tuple(np.array(links).T)), shape=shape)
    parts = connected_components(graph, directed=False)[1][:size]
    return [f"group {part}" for part in parts] if len(set(parts.tolist())) < size else []


def _said(labels: Sequence[str], records: Mapping[int, ItemScores], kept: Sequence[str]) -> str:
    """Return the note on what was left out of a task."""
    lost: dict[str, int] = {}
    for place, record in records.items():
        if record.ids:
            lost[labels[place]] = max(lost.get(labels[place], 0), len(record.ids) - len(kept))
    some = sorted((name for name in lost if lost[name]), key=lambda name: -lost[name])
    listed = ", ".join(f"{lost[name]} of {name}" for name in some[:MOST_NAMED])
    more = f" and some of {len(some) - MOST_NAMED} more models" if len(some) > MOST_NAMED else ""
    without = list(dict.fromkeys(labels[place] for place, record in records.items() if not record.ids))
    texts = {record.fingerprint for record in records.values() if record.fingerprint.split()[0] not in UNCHECKED}
    parts = [f"scored on the {len(kept)} items that all models have; left out: {listed}{more}"]
    if without:
        parts.append(f"{', '.join(without)} has only a score of all its items there, which is left out")
    if len(texts) > 1:
        parts.append("that their texts are the same is not checked")
    if any(record.assignments for record in records.values()):
        parts.append("the clusters were made with the other items too")
    return "; ".join(parts)
