"""The items on which two designs differ most: examples to read, not a test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from poolwise.records import ItemScores, ItemTexts, Run
from poolwise.results import Comparison, Extremes, TaskExtremes
from poolwise.stats.core.clusters import bcubed_f1
from poolwise.stats.core.rank_metrics import rank_columns
from poolwise.stats.core.resampling import FloatArray, IntArray
from poolwise.stats.designs.alignment import build_table, why_no_items
from poolwise.stats.designs.entrants import gather
from poolwise.stats.designs.item_tables import TaskTable

NUM_EACH = 3
"""Most items shown for each side of a contrast."""

MEASURES = {
    "ndcg_at_10": "nDCG@10 of the query",
    "map": "average precision of the query",
    "accuracy": "accuracy on the text",
    "sts": "1 minus the distance from the pair's similarity rank to the ranks of its gold score, as a share of all "
    "pairs",
    "pair_classification": "1 minus the distance from the pair's similarity rank to the ranks of its label, as a "
    "share of all pairs",
    "clustering": "B-cubed F1 of the text: how well its cluster matches its label",
}
"""What the score of an item means: by category if items are not scored by the metric itself, else by metric."""


def with_extremes(comparison: Comparison, runs: Sequence[Run], texts: Sequence[ItemTexts] = ()) -> Comparison:
    """Return the comparison with, for each task, the items on which the two designs of a contrast differ most.

    Item scores are averaged over a design's seeds. Tasks without per-item scores are left out.

    Args:
        runs: the runs that were compared.
        texts: item texts of any tasks; used if task and fingerprint match the scores.
    """
    pairs = list(dict.fromkeys((contrast.a, contrast.b) for contrast in comparison.contrasts))
    if not pairs:
        return comparison
    known = {(record.task, record.fingerprint): record for record in texts}
    field = gather(runs)
    found = []
    for task in (task for tasks in field.tasks.values() for task in tasks):
        records = {entrant.name: entrant.records(task) for entrant in field.entrants if entrant.has(task)}
        having = [(a, b) for a, b in pairs if a in records and b in records]
        if having and not why_no_items(records):
            first = next(iter(records.values()))[0]
            found.append(_task_extremes(build_table(records), first, having, known.get((task, first.fingerprint))))
    return comparison.model_copy(update={"extremes": found})


def item_qualities(table: TaskTable) -> dict[str, FloatArray]:
    """Return the score of each entrant on each item, averaged over seeds; higher is better."""
    if table.category == "clustering":
        labels = table.gold.astype(np.int64)
        return {
            name: np.mean([bcubed_f1(labels, row) for row in rows.reshape(-1, table.num_items)], axis=0)
            for name, rows in table.assignments.items()
        }
    if table.category in ("sts", "pair_classification"):
        low, high = _gold_ranks(table)
        return {
            name: np.mean([_closeness(rank_columns(row), low, high) for row in rows], axis=0)
            for name, rows in table.values.items()
        }
    return {name: rows.mean(axis=0) for name, rows in table.values.items()}


def _gold_ranks(table: TaskTable) -> tuple[FloatArray, FloatArray]:
    """Return the first and last rank of each item's gold score, centred and scaled as in ``rank_columns``."""
    gold = table.gold_order
    last = gold.ends[gold.group] + 1
    first = np.concatenate([[0], gold.ends[:-1] + 1])[gold.group] + 1
    bounds = np.empty((2, table.num_items))
    bounds[:, gold.order] = np.stack([first, last])
    low, high = (bounds - (table.num_items + 1) / 2) / table.num_items
    return low, high


def _closeness(ranks: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    return 1 - np.maximum(np.maximum(low - ranks, ranks - high), 0.0)


def _task_extremes(
    table: TaskTable, record: ItemScores, pairs: Sequence[tuple[str, str]], texts: ItemTexts | None
) -> TaskExtremes:
    qualities = item_qualities(table)
    chosen = {(a, b): _furthest(qualities[a] - qualities[b]) for a, b in pairs}
    used = np.unique(np.concatenate(list(chosen.values())))
    ids = [str(name) for name in np.sort(np.asarray(record.ids))[used]]
    rows = {name: row for row, name in enumerate(texts.ids)} if texts else {}
    parts = texts.parts if texts and all(name in rows for name in ids) else {}
    return TaskExtremes(
        task=table.task,
        measure=MEASURES.get(record.category) or MEASURES.get(record.metric, record.metric),
        ids=ids,
        parts={part: [column[rows[name]] for name in ids] for part, column in parts.items()},
        contrasts=[
            Extremes(
                a=a,
                b=b,
                items=np.searchsorted(used, items).tolist(),
                a_scores=qualities[a][items].tolist(),
                b_scores=qualities[b][items].tolist(),
            )
            for (a, b), items in chosen.items()
        ],
    )


def _furthest(differences: FloatArray) -> IntArray:
    """Return the items with the largest gains of the first design, then of the second; ties in item order."""
    sides = [np.argsort(-sign * differences, kind="stable")[:NUM_EACH] for sign in (1, -1)]
    # Rounding errors of equal means are not differences.
    kept = [side[sign * differences[side] > 1e-9] for side, sign in zip(sides, (1, -1), strict=True)]
    return np.concatenate(kept).astype(np.int64)
