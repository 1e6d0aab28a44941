"""Which within-task procedure a category takes: what is swapped, what is resampled, what is recomputed.

============================  ===============================================  ===================================
category                      permutation (p)                                  bootstrap (interval)
============================  ===============================================  ===================================
retrieval, reranking,         signs of the paired per-item differences         mean of the resampled items
classification
sts                           ranks within each model, then pairs swap         Spearman of the resampled pairs
                              between the models; correlation of the ranks
pair_classification           ranks within each model, then pairs swap;        average precision of the resampled
                              average precision                                pairs
clustering                    signs of the differences in per-item             V-measure of the resampled rows on
                              contributions to B-cubed F1, never cluster       fixed assignments
                              numbers
============================  ===============================================  ===================================

Every procedure averages over the seeds of a design, and moves dependent items (one ``group``) together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import lcm

import numpy as np

from poolwise.stats.bootstrap import bootstrap_means
from poolwise.stats.clusters import bcubed_contributions, v_measure, weighted_v_measure
from poolwise.stats.contrasts import Pair
from poolwise.stats.ranking import (
    Ordering,
    rank_columns,
    swapped_average_precisions,
    swapped_correlations,
    weighted_average_precision,
    weighted_spearman,
)
from poolwise.stats.resampling import (
    EXACT_UNITS,
    FloatArray,
    IntArray,
    all_swaps,
    iter_swaps,
    iter_weights,
    permutation_p,
)
from poolwise.stats.signflip import Permutation, flipped_sums, signflip_tests, unit_sums


@dataclass(frozen=True)
class TaskTable:
    """The items of one task with every entrant's values, aligned by item id.

    ``values[name]`` is seeds x items; for clustering it is empty and ``assignments[name]`` holds cluster numbers,
    seeds x k-means seeds x items. ``gold`` is the graded score (sts), the 0/1 label (pairs) or the label's number.
    """

    task: str
    category: str
    units: IntArray
    gold: FloatArray
    values: Mapping[str, FloatArray]
    assignments: Mapping[str, IntArray]

    @property
    def names(self) -> list[str]:
        return list(self.values or self.assignments)

    @property
    def num_items(self) -> int:
        return len(self.units)


@dataclass(frozen=True)
class Permuted:
    """Differences of some pairs under the null: at hand, permuted (resamples x pairs), and the test of each."""

    observed: FloatArray
    permuted: FloatArray
    tests: list[Permutation]


@dataclass(frozen=True)
class Procedure:
    """One category's way: the score at hand, its bootstrap, its permutation, and their names."""

    test: str
    statistic: str
    scores: Callable[[TaskTable], FloatArray]
    bootstrap: Callable[[TaskTable, int, np.random.Generator], FloatArray]
    permute: Callable[[TaskTable, Sequence[Pair], int, np.random.Generator], Permuted]


def mean_scores(table: TaskTable) -> FloatArray:
    """Return the mean over items and seeds of each entrant."""
    return np.array([table.values[name].mean() for name in table.names])


def _bootstrap_means(table: TaskTable, num_resamples: int, rng: np.random.Generator) -> FloatArray:
    columns = np.column_stack([table.values[name].mean(axis=0) for name in table.names])
    return bootstrap_means(columns, table.units, num_resamples, rng)


def _flip_means(table: TaskTable, pairs: Sequence[Pair], num_resamples: int, rng: np.random.Generator) -> Permuted:
    return _flip_columns(
        {name: rows.mean(axis=0) for name, rows in table.values.items()}, table, pairs, num_resamples, rng
    )


def _flip_columns(
    columns: Mapping[str, FloatArray],
    table: TaskTable,
    pairs: Sequence[Pair],
    num_resamples: int,
    rng: np.random.Generator,
) -> Permuted:
    differences = np.column_stack([columns[pair.a] - columns[pair.b] for pair in pairs])
    sums = unit_sums(differences, table.units)
    flipped = flipped_sums(sums, num_resamples, rng)
    return Permuted(differences.mean(axis=0), flipped / table.num_items, signflip_tests(sums, flipped))


Weighted = Callable[[list[Ordering], TaskTable, FloatArray], FloatArray]


def _spearman(columns: list[Ordering], table: TaskTable, weights: FloatArray) -> FloatArray:
    return weighted_spearman(columns, Ordering(table.gold), weights)


def _average_precision(columns: list[Ordering], table: TaskTable, weights: FloatArray) -> FloatArray:
    return weighted_average_precision(columns, table.gold, weights)


def _rank_scores(metric: Weighted) -> Callable[[TaskTable], FloatArray]:
    def scores(table: TaskTable) -> FloatArray:
        return _seed_means(table, metric([*_orderings(table)], table, np.ones((table.num_items, 1))))[0]

    return scores


def _rank_bootstrap(metric: Weighted) -> Callable[[TaskTable, int, np.random.Generator], FloatArray]:
    def bootstrap(table: TaskTable, num_resamples: int, rng: np.random.Generator) -> FloatArray:
        columns = _orderings(table)
        chunks = iter_weights(table.units, num_resamples, rng)
        return np.concatenate([_seed_means(table, metric(columns, table, weights)) for weights in chunks])

    return bootstrap


def _orderings(table: TaskTable) -> list[Ordering]:
    return [Ordering(row) for name in table.names for row in table.values[name]]


def _seed_means(table: TaskTable, columns: FloatArray) -> FloatArray:
    """Average the columns of each entrant's seeds (resamples x runs -> resamples x entrants)."""
    counts = [len(table.values[name]) for name in table.names]
    parts = np.split(columns, np.cumsum(counts)[:-1], axis=1)
    return np.column_stack([part.mean(axis=1) for part in parts])


Swapped = Callable[[FloatArray, FloatArray, FloatArray, FloatArray], FloatArray]


def _rank_swaps(
    swapped: Swapped, gold_of: Callable[[FloatArray], FloatArray]
) -> Callable[[TaskTable, Sequence[Pair], int, np.random.Generator], Permuted]:
    def permute(table: TaskTable, pairs: Sequence[Pair], num_resamples: int, rng: np.random.Generator) -> Permuted:
        ranks = {name: [rank_columns(row) for row in rows] for name, rows in table.values.items()}
        gold = gold_of(table.gold)

        def differences(pair: Pair, coins: FloatArray) -> FloatArray:
            matched = _matched(ranks[pair.a], ranks[pair.b])
            return np.mean([swapped(one, two, gold, coins) for one, two in matched], axis=0)

        nothing = np.zeros((table.num_items, 1))
        observed = np.concatenate([differences(pair, nothing) for pair in pairs])
        is_exact = int(table.units.max()) + 1 <= EXACT_UNITS
        chunks = [all_swaps(int(table.units.max()) + 1)[table.units]] if is_exact else None
        rows = [
            np.column_stack([differences(pair, coins) for pair in pairs])
            for coins in chunks or iter_swaps(table.units, num_resamples, rng)
        ]
        permuted = np.concatenate(rows)
        return Permuted(observed, permuted, [_tested(*one, is_exact) for one in zip(observed, permuted.T, strict=True)])

    return permute


def _matched(first: list[FloatArray], second: list[FloatArray]) -> list[tuple[FloatArray, FloatArray]]:
    """Pair the seeds of two entrants so that every seed of each counts alike, also where their numbers differ."""
    length = lcm(len(first), len(second))
    return list(zip(islice(cycle(first), length), islice(cycle(second), length), strict=True))


def _tested(observed: float, permuted: FloatArray, is_exact: bool) -> Permutation:
    if not is_exact:
        return Permutation(permutation_p(observed, permuted, 1.0), 1 / (len(permuted) + 1), False)
    reached = np.count_nonzero(np.abs(permuted) >= abs(observed) - 1e-9)
    return Permutation(reached / len(permuted), min(1.0, 2 / len(permuted)), True)


def _labels(table: TaskTable) -> IntArray:
    return table.gold.astype(np.int64)


def _cluster_scores(table: TaskTable) -> FloatArray:
    labels = _labels(table)
    return np.array([np.mean([v_measure(labels, row) for row in _rows(table, name)]) for name in table.names])


def _rows(table: TaskTable, name: str) -> IntArray:
    return table.assignments[name].reshape(-1, table.num_items)


def _cluster_bootstrap(table: TaskTable, num_resamples: int, rng: np.random.Generator) -> FloatArray:
    labels = _labels(table)
    chunks = []
    for weights in iter_weights(table.units, num_resamples, rng):
        scores = [
            np.mean([weighted_v_measure(labels, row, weights) for row in _rows(table, name)], axis=0)
            for name in table.names
        ]
        chunks.append(np.column_stack(scores))
    return np.concatenate(chunks)


def _cluster_flips(table: TaskTable, pairs: Sequence[Pair], num_resamples: int, rng: np.random.Generator) -> Permuted:
    labels = _labels(table)
    columns = {
        name: np.mean([bcubed_contributions(labels, row) for row in _rows(table, name)], axis=0) for name in table.names
    }
    return _flip_columns(columns, table, pairs, num_resamples, rng)


_MEANS = Procedure("sign flips of per-item differences", "mean", mean_scores, _bootstrap_means, _flip_means)
PROCEDURES: Mapping[str, Procedure] = {
    "retrieval": _MEANS,
    "reranking": _MEANS,
    "classification": _MEANS,
    "sts": Procedure(
        "swapped pairs of ranks",
        "Spearman correlation",
        _rank_scores(_spearman),
        _rank_bootstrap(_spearman),
        _rank_swaps(swapped_correlations, rank_columns),
    ),
    "pair_classification": Procedure(
        "swapped pairs of ranks",
        "average precision",
        _rank_scores(_average_precision),
        _rank_bootstrap(_average_precision),
        _rank_swaps(swapped_average_precisions, lambda labels: labels),
    ),
    "clustering": Procedure(
        "sign flips of per-item B-cubed F1", "V-measure", _cluster_scores, _cluster_bootstrap, _cluster_flips
    ),
}
