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

from poolwise.stats.clusters import bcubed_contributions, weighted_v_measure
from poolwise.stats.contrasts import Pair
from poolwise.stats.ranking import (
    rank_columns,
    swapped_average_precisions,
    swapped_correlations,
    weighted_average_precision,
    weighted_spearman,
)
from poolwise.stats.resampling import (
    EXACT_UNITS,
    Counts,
    FloatArray,
    IntArray,
    all_swaps,
    iter_swaps,
    iter_weights,
    permutation_p,
)
from poolwise.stats.signflip import Permutation, flipped_sums, signflip_tests, unit_sums
from poolwise.stats.tables import TaskTable


@dataclass(frozen=True)
class Permuted:
    """Differences of some pairs under the null: at hand, permuted (resamples x pairs), and the test of each."""

    observed: FloatArray
    permuted: FloatArray
    tests: list[Permutation]

    def drawn(self, num_resamples: int, rng: np.random.Generator) -> FloatArray:
        """Return ``num_resamples`` permuted differences, drawn again where all arrangements were enumerated."""
        if len(self.permuted) == num_resamples:
            return self.permuted
        return np.asarray(self.permuted[rng.integers(0, len(self.permuted), num_resamples)])


@dataclass(frozen=True)
class Procedure:
    """One category's way: its metric under item weights (resamples x runs), its permutation, and their names.

    ``permutes_score``: whether the permuted differences are of the score itself (for clustering they are not).
    """

    test: str
    statistic: str
    permutes_score: bool
    weighted: Callable[[TaskTable, Counts], FloatArray]
    permute: Callable[[TaskTable, Sequence[Pair], int, np.random.Generator], Permuted]

    @property
    def is_mean(self) -> bool:
        """Whether the score is the mean of the items' values."""
        return self.statistic == "mean"

    def scores(self, table: TaskTable) -> FloatArray:
        """Return each entrant's score, its mean over seeds."""
        return np.asarray(table.seed_means(self.weighted(table, np.ones((table.num_items, 1), dtype=np.float32)))[0])

    def bootstrap(self, table: TaskTable, num_resamples: int, rng: np.random.Generator) -> FloatArray:
        """Return the resampled scores (resamples x runs), all runs on the same draws."""
        chunks = iter_weights(table.units, num_resamples, rng)
        return np.concatenate([self.weighted(table, weights) for weights in chunks])


def _weighted_means(table: TaskTable, weights: Counts) -> FloatArray:
    columns = np.concatenate([table.values[name] for name in table.names])
    return np.asarray((weights.T @ columns.T) / weights.sum(axis=0, dtype=np.float64)[:, None])


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


def _spearman(table: TaskTable, weights: Counts) -> FloatArray:
    return weighted_spearman([one for name in table.names for one in table.orders[name]], table.gold_order, weights)


def _average_precision(table: TaskTable, weights: Counts) -> FloatArray:
    return weighted_average_precision([one for name in table.names for one in table.precisions[name]], weights)


Swapped = Callable[[FloatArray, FloatArray, FloatArray, Counts], FloatArray]


def _rank_swaps(
    swapped: Swapped, gold_of: Callable[[FloatArray], FloatArray]
) -> Callable[[TaskTable, Sequence[Pair], int, np.random.Generator], Permuted]:
    def permute(table: TaskTable, pairs: Sequence[Pair], num_resamples: int, rng: np.random.Generator) -> Permuted:
        ranks = {name: [rank_columns(row) for row in rows] for name, rows in table.values.items()}
        gold = gold_of(table.gold)

        def differences(pair: Pair, coins: Counts) -> FloatArray:
            matched = _matched(ranks[pair.a], ranks[pair.b])
            return np.mean([swapped(one, two, gold, coins) for one, two in matched], axis=0)

        nothing = np.zeros((table.num_items, 1), dtype=np.float32)
        observed = np.concatenate([differences(pair, nothing) for pair in pairs])
        is_exact = table.num_units <= EXACT_UNITS
        chunks = [all_swaps(table.num_units)[table.units]] if is_exact else None
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


def _rows(table: TaskTable, name: str) -> IntArray:
    return table.assignments[name].reshape(-1, table.num_items)


def _v_measures(table: TaskTable, weights: Counts) -> FloatArray:
    labels = _labels(table)
    scores = [
        np.mean([weighted_v_measure(labels, row, weights) for row in rows], axis=0)
        for name in table.names
        for rows in table.assignments[name]
    ]
    return np.column_stack(scores)


def _cluster_flips(table: TaskTable, pairs: Sequence[Pair], num_resamples: int, rng: np.random.Generator) -> Permuted:
    labels = _labels(table)
    columns = {
        name: np.mean([bcubed_contributions(labels, row) for row in _rows(table, name)], axis=0) for name in table.names
    }
    return _flip_columns(columns, table, pairs, num_resamples, rng)


_MEANS = Procedure("sign flips of per-item differences", "mean", True, _weighted_means, _flip_means)
PROCEDURES: Mapping[str, Procedure] = {
    "retrieval": _MEANS,
    "reranking": _MEANS,
    "classification": _MEANS,
    "sts": Procedure(
        "swapped pairs of ranks",
        "Spearman correlation",
        True,
        _spearman,
        _rank_swaps(swapped_correlations, rank_columns),
    ),
    "pair_classification": Procedure(
        "swapped pairs of ranks",
        "average precision",
        True,
        _average_precision,
        _rank_swaps(swapped_average_precisions, lambda labels: labels),
    ),
    "clustering": Procedure(
        "sign flips of contributions to B-cubed F1", "V-measure", False, _v_measures, _cluster_flips
    ),
}
