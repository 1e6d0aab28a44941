"""The test procedures within one task, by category: what is permuted and what is resampled.

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

Every procedure averages over the seeds of a design and keeps dependent items (one ``group``) together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from math import lcm
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from poolwise.stats.core.bootstrap import weighted_means
from poolwise.stats.core.clusters import bcubed_contributions, bcubed_f1
from poolwise.stats.core.rank_metrics import doubled_ranks, weighted_average_precision, weighted_spearman
from poolwise.stats.core.resampling import (
    EXACT_UNITS,
    KEPT,
    Draws,
    FloatArray,
    IntArray,
    by_item,
    draw_most,
    draw_swaps,
    draw_weights,
    enumerated,
    is_few,
    permutation_p,
    resampled,
)
from poolwise.stats.core.signflip import (
    Permutation,
    flipped_sums,
    moved_units,
    noise_tests,
    signflip_tests,
    unit_sums,
)
from poolwise.stats.core.swaps import SwappedPrecision, rank_moments, swapped_correlations
from poolwise.stats.designs.contrasts import Pair
from poolwise.stats.designs.item_tables import TaskTable

SAME = 1e-6
"""Differences of rank metrics up to this gap count as equal, since float32 sums are no more exact than that."""


@dataclass(frozen=True)
class Permuted:
    """A permutation test of several pairs: observed and permuted differences (resamples x pairs), and the tests.

    ``moved`` (units x pairs): whether a flip or swap of the unit changes anything; other units add no arrangement.
    """

    observed: FloatArray
    permuted: FloatArray
    tests: list[Permutation]
    moved: NDArray[np.bool_]

    def drawn(self, column: int, num_resamples: int, rng: np.random.Generator) -> FloatArray:
        """Return ``num_resamples`` permuted differences of one pair, drawn from all arrangements if enumerated."""
        permuted = self.permuted[:, column]
        if len(permuted) == num_resamples:
            return permuted
        return np.asarray(permuted[rng.integers(0, len(permuted), num_resamples)])


@dataclass(frozen=True)
class Procedure:
    """The procedure of one category: its metric under unit weights (resamples x runs), its permutation, their names.

    ``permutes_score``: whether the permuted differences are those of the score itself (not so for clustering).
    ``num_rows``: how many numbers the metric holds in memory for each resample.
    """

    test: str
    statistic: str
    permutes_score: bool
    weighted: Callable[[TaskTable, Draws], FloatArray]
    permute: Callable[[TaskTable, Sequence[Pair], int, np.random.Generator], Permuted]
    num_rows: Callable[[TaskTable], int]

    @property
    def is_mean(self) -> bool:
        """Whether the score is the mean of the item values."""
        return self.statistic == "mean"

    def scores(self, table: TaskTable) -> FloatArray:
        """Return the score of each entrant, averaged over seeds."""
        return np.asarray(table.seed_means(self.weighted(table, np.ones((1, table.num_units), dtype=np.uint8)))[0])

    def bootstrap(self, table: TaskTable, num_resamples: int, rng: np.random.Generator) -> FloatArray:
        """Return the resampled scores (resamples x runs); all runs share the draws.

        V-measure is computed on subsamples and its deviations are enlarged to those of whole samples. A bootstrap
        draws items twice, and copies always share label and cluster: its deviations were two thirds of the true ones,
        and 90 of 100 intervals at 95% held the difference. With nine tenths of the items it is 94 to 97
        (`metric_intervals` of the levels).
        """
        draw = draw_weights if self.permutes_score else draw_most
        run = partial(self.weighted, table)
        draws = resampled(run, draw, table.num_units, num_resamples, rng, self.num_rows(table))
        if self.permutes_score:
            return draws
        observed = self.weighted(table, np.ones((1, table.num_units), dtype=np.uint8))
        return np.asarray(observed + (draws - draws.mean(axis=0)) * np.sqrt(KEPT / (1 - KEPT)))


def _weighted_means(table: TaskTable, weights: Draws) -> FloatArray:
    return weighted_means(table.mean_columns, weights)


def _flip_means(table: TaskTable, pairs: Sequence[Pair], num_resamples: int, rng: np.random.Generator) -> Permuted:
    means = {name: rows.mean(axis=0) for name, rows in table.values.items()}
    differences = np.column_stack([means[pair.a] - means[pair.b] for pair in pairs])
    sums = unit_sums(differences, table.units)
    flipped = flipped_sums(sums, num_resamples, rng)
    tests = signflip_tests(sums, flipped)
    return Permuted(differences.mean(axis=0), flipped / table.num_items, tests, moved_units(sums))


def _spearman(table: TaskTable, weights: Draws) -> FloatArray:
    columns = [one for name in table.names for one in table.orders[name]]
    return weighted_spearman(columns, table.gold_order, by_item(weights, table.units))


def _average_precision(table: TaskTable, weights: Draws) -> FloatArray:
    columns = [one for name in table.names for one in table.precisions[name]]
    return weighted_average_precision(columns, by_item(weights, table.units))


def _swap_correlations(
    table: TaskTable, pairs: Sequence[Pair], num_resamples: int, rng: np.random.Generator
) -> Permuted:
    gold = doubled_ranks(table.gold)
    ranks = [doubled_ranks(row) for name in table.names for row in table.values[name]]
    moments = np.column_stack([rank_moments(row, gold) for row in ranks])
    by_unit, totals = unit_sums(moments, table.units), moments.sum(axis=0).reshape(-1, 3)
    matched = _matched_runs(table, pairs)

    def differences(coins: Draws) -> FloatArray:
        # Whole numbers are exact, so the order of adding does not matter. One product serves all pairs.
        swapped = (coins.astype(np.float64) @ by_unit).reshape(len(coins), -1, 3)

        def difference(a: int, b: int) -> FloatArray:
            return swapped_correlations(totals[a], totals[b], swapped[:, b] - swapped[:, a], table.num_items)

        by_pair = [np.mean([difference(a, b) for a, b in runs], axis=0) for runs in matched]
        return np.column_stack(by_pair) / np.sqrt(gold @ gold)

    return _swap(table, differences, _swapped_units(table, ranks, matched), num_resamples, rng)


def _swap_precisions(table: TaskTable, pairs: Sequence[Pair], num_resamples: int, rng: np.random.Generator) -> Permuted:
    ranks = [doubled_ranks(row) for name in table.names for row in table.values[name]]
    matched = _matched_runs(table, pairs)
    prepared = [[SwappedPrecision(ranks[a], ranks[b], table.gold) for a, b in runs] for runs in matched]

    def differences(coins: Draws) -> FloatArray:
        swapped = np.vstack([by_item(coins, table.units), np.ones((1, len(coins)), dtype=np.float32)])
        return np.column_stack([np.mean([one(swapped) for one in runs], axis=0) for runs in prepared])

    return _swap(table, differences, _swapped_units(table, ranks, matched), num_resamples, rng)


def _matched_runs(table: TaskTable, pairs: Sequence[Pair]) -> list[list[tuple[int, int]]]:
    """Return, for each pair, which runs are compared with each other, as columns among all runs."""
    columns = range(sum(len(rows) for rows in table.values.values()))
    return [_matched(columns[table.runs_of(pair.a)], columns[table.runs_of(pair.b)]) for pair in pairs]


def _swapped_units(
    table: TaskTable, ranks: Sequence[FloatArray], matched: Sequence[Sequence[tuple[int, int]]]
) -> NDArray[np.bool_]:
    """Return which units (rows) a swap changes, by pair: those with an item that two matched runs rank differently."""
    differ = np.column_stack([np.any([ranks[a] != ranks[b] for a, b in runs], axis=0) for runs in matched])
    return unit_sums(differ.astype(np.float64), table.units) > 0


def _swap(
    table: TaskTable,
    differences: Callable[[Draws], FloatArray],
    moved: NDArray[np.bool_],
    num_resamples: int,
    rng: np.random.Generator,
) -> Permuted:
    """Swap at random, or in all possible ways if these are few."""
    observed = differences(np.zeros((1, table.num_units), dtype=np.uint8))[0]
    is_exact = table.num_units <= EXACT_UNITS
    if is_exact:
        permuted = enumerated(differences, table.num_units, table.num_items)
    else:
        permuted = resampled(differences, draw_swaps, table.num_units, num_resamples, rng, table.num_items)
    columns = zip(observed, permuted.T, moved.sum(axis=0), strict=True)
    return Permuted(observed, permuted, [_tested(*column, is_exact) for column in columns], moved)


Seeds = TypeVar("Seeds")


def _matched(first: Sequence[Seeds], second: Sequence[Seeds]) -> list[tuple[Seeds, Seeds]]:
    """Pair the seeds of two entrants so that all seeds of each count equally, even if one has more seeds."""
    length = lcm(len(first), len(second))
    return list(zip(islice(cycle(first), length), islice(cycle(second), length), strict=True))


def _tested(observed: float, permuted: FloatArray, num_moved: int, is_exact: bool) -> Permutation:
    """Return the test of one pair. Swaps without effect and ties of a rank metric raise the smallest possible p."""
    sizes, count = np.abs(permuted), len(permuted)
    outermost = max(abs(observed), float(sizes.max()))
    if is_exact:
        reached, at_most = (int(np.count_nonzero(sizes >= size - SAME)) for size in (abs(observed), outermost))
        return Permutation(reached / count, at_most / count, True)
    p = permutation_p(observed, permuted, SAME / 1e-9)
    least = permutation_p(outermost, permuted, SAME / 1e-9) if is_few(num_moved, count) else 1 / (count + 1)
    return Permutation(p, least, False, count)


def _labels(table: TaskTable) -> IntArray:
    return table.gold.astype(np.int64)


def _rows(table: TaskTable, name: str) -> IntArray:
    return table.assignments[name].reshape(-1, table.num_items)


def _v_measures(table: TaskTable, weights: Draws) -> FloatArray:
    """Return the V-measure of each run, averaged over k-means seeds."""
    by_assignment = table.partitions.v_measures(weights)
    lengths = [len(row) for name in table.names for row in table.assignments[name]]
    return np.column_stack([part.mean(axis=1) for part in np.split(by_assignment, np.cumsum(lengths)[:-1], axis=1)])


def _cluster_flips(table: TaskTable, pairs: Sequence[Pair], num_resamples: int, rng: np.random.Generator) -> Permuted:
    """Compare the difference of mean B-cubed F1 with flips of the contributions (which do not add up to it)."""
    labels, items, scores = _labels(table), {}, {}
    for name in table.names:
        rows = _rows(table, name)
        items[name] = np.mean([bcubed_contributions(labels, row) for row in rows], axis=0)
        scores[name] = float(np.mean([bcubed_f1(labels, row).mean() for row in rows]))
    sums = unit_sums(np.column_stack([items[pair.a] - items[pair.b] for pair in pairs]), table.units)
    observed = np.array([scores[pair.a] - scores[pair.b] for pair in pairs])
    flipped = flipped_sums(sums, num_resamples, rng)
    tests = noise_tests(observed * table.num_items, sums, flipped)
    return Permuted(observed, flipped / table.num_items, tests, moved_units(sums))


def _num_items(table: TaskTable) -> int:
    return table.num_items


_MEANS = Procedure(
    "sign flips of per-item differences", "mean", True, _weighted_means, _flip_means, lambda table: table.num_units
)
PROCEDURES: Mapping[str, Procedure] = {
    "retrieval": _MEANS,
    "reranking": _MEANS,
    "classification": _MEANS,
    "sts": Procedure("swapped pairs of ranks", "Spearman correlation", True, _spearman, _swap_correlations, _num_items),
    "pair_classification": Procedure(
        "swapped pairs of ranks", "average precision", True, _average_precision, _swap_precisions, _num_items
    ),
    "clustering": Procedure(
        "sign flips of contributions to B-cubed F1",
        "V-measure",
        False,
        _v_measures,
        _cluster_flips,
        # An index and a float64 for each set; the other procedures hold a few float32.
        lambda table: 8 * table.partitions.num_sets,
    ),
}
