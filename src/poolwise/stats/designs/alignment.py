"""From the ItemScores of several models on one task to one table, aligned by item id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from poolwise.errors import EvalError
from poolwise.records import ItemScores
from poolwise.stats.core.clusters import codes_of
from poolwise.stats.core.resampling import FloatArray, IntArray, units_of
from poolwise.stats.designs.item_tables import TaskTable


def build_table(records: Mapping[str, Sequence[ItemScores]]) -> TaskTable:
    """Return the table of one task, with items sorted by id.

    Args:
        records: records by entrant, one for each seed; all of one task.
    Raises: EvalError if gold scores or groups differ between two models.
    """
    everyone = [record for rows in records.values() for record in rows]
    first = everyone[0]
    order = {id(record): np.argsort(np.asarray(record.ids), kind="stable") for record in everyone}
    for record in everyone[1:]:
        for what, one, two in (("gold", first.gold, record.gold), ("group", first.group, record.group)):
            if not _same(one, order[id(first)], two, order[id(record)]):
                raise EvalError(
                    f"{first.task}: {what} differs between {_owner(records, first)} and {_owner(records, record)}",
                    hint="evaluate the models again on the same data",
                )
    sorting = order[id(first)]
    group = [first.group[i] for i in sorting] if first.group else []
    is_clustering = first.category == "clustering"
    return TaskTable(
        first.task,
        first.category,
        "\0".join(["groups", *sorted(set(group))]) if group else first.task,
        units_of(group, first.num_items),
        _gold(first, sorting),
        {} if is_clustering else {name: _values(rows, order) for name, rows in records.items()},
        {name: _assignments(rows, order) for name, rows in records.items()} if is_clustering else {},
    )


def why_no_items(records: Mapping[str, Sequence[ItemScores]]) -> str:
    """Return why this task cannot be tested within; empty if it can."""
    for name, rows in records.items():
        for record in rows:
            if not record.ids:
                return f"{name} has a score but no items"
            if record.category == "clustering" and not (record.assignments and record.gold):
                return f"{name} has no cluster assignments or labels"
            if record.category != "clustering" and not record.values:
                return f"{name} has no per-item values"
            if record.category in ("sts", "pair_classification"):
                if not record.gold:
                    return f"{name} has no gold scores"
                if max(record.values) == min(record.values):
                    return f"{name} gives every pair the same similarity, so its {record.metric} is undefined"
                if max(record.gold) == min(record.gold):
                    return f"every pair has the same gold score, so {record.metric} is undefined"
    lengths = {len(record.assignments) for rows in records.values() for record in rows}
    return f"the models have different numbers of k-means seeds ({sorted(lengths)})" if len(lengths) > 1 else ""


def _owner(records: Mapping[str, Sequence[ItemScores]], wanted: ItemScores) -> str:
    return next(name for name, rows in records.items() if any(record is wanted for record in rows))


def _same(one: Sequence[object], one_order: IntArray, two: Sequence[object], two_order: IntArray) -> bool:
    if len(one) != len(two):
        return False
    return not one or [one[i] for i in one_order] == [two[i] for i in two_order]


def _gold(record: ItemScores, sorting: IntArray) -> FloatArray:
    if not record.gold:
        return np.zeros(record.num_items)
    labels = np.asarray(record.gold)[sorting]
    is_named = record.category == "clustering" or labels.dtype.kind == "U"
    return codes_of(labels).astype(np.float64) if is_named else labels.astype(np.float64)


def _values(rows: Sequence[ItemScores], order: Mapping[int, IntArray]) -> FloatArray:
    return np.array([np.asarray(record.values, dtype=np.float64)[order[id(record)]] for record in rows])


def _assignments(rows: Sequence[ItemScores], order: Mapping[int, IntArray]) -> IntArray:
    return np.array([np.asarray(record.assignments)[:, order[id(record)]] for record in rows])
