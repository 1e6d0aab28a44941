"""Borda ranks of models over tasks, as MTEB's leaderboard has them: their intervals, and which ranks are separated."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from poolwise.stats.core.bootstrap import MIN_ITEMS, num_units
from poolwise.stats.core.resampling import (
    FloatArray,
    IntArray,
    draw_swaps,
    draw_weights,
    enumerated,
    generator,
    is_few,
    resampled,
)
from poolwise.stats.core.signflip import unit_sums

NUM_RESAMPLES = 2_000
MIN_UNITS = MIN_ITEMS
"""Minimum number of independent tasks for an interval of ranks, as for any percentile interval here."""


def borda_points(scores: FloatArray) -> FloatArray:
    """Return the points of each model in each task (tasks x models): the models that it beats, ties count half.

    Args:
        scores: tasks x models; higher is better.
    Source: mteb 2.26, ``benchmarks/_create_table.py``: models less the rank in the task, tied ranks averaged.
    """
    return np.asarray(scores.shape[1] - rankdata(-scores, axis=1), dtype=np.float64)


def borda_ranks(points: FloatArray) -> IntArray:
    """Return the ranks (... x models) of total points; 1 is best, tied models share the best of their ranks."""
    return np.asarray(rankdata(-points, method="min", axis=-1)).astype(np.int64)


def rank_intervals(points: FloatArray, units: IntArray, seed: int = 0, level: float = 0.95) -> IntArray | None:
    """Return the lowest and the highest rank (models x 2) of the middle ``level`` of bootstrap samples of the tasks.

    Args:
        points: tasks x models. units: the unit of each task; tasks of one unit are drawn together.
    None below ten units.
    """
    if num_units(units) < MIN_UNITS:
        return None
    sums = unit_sums(points, units)
    totals = resampled(
        lambda weights: np.asarray(weights.astype(np.float64) @ sums),
        draw_weights,
        len(sums),
        NUM_RESAMPLES,
        generator(seed, "borda", "bootstrap"),
    )
    ranks, tail = borda_ranks(totals), (1 - level) / 2
    low = np.quantile(ranks, tail, axis=0, method="lower")
    high = np.quantile(ranks, 1 - tail, axis=0, method="higher")
    return np.stack([low, high], axis=1).astype(np.int64)


def pair_p_values(points: FloatArray, units: IntArray, seed: int = 0) -> FloatArray:
    """Return the p of every pair (models x models) that both earn the same points, corrected for all pairs.

    The signs of all differences in a unit flip together. A pair's statistic is its total difference by the root of
    the sum of squares, and its p the share of flips in which any pair reaches it.

    Law: p >= 2^(1 - units), so that five units never separate models at 0.05; p of a model with itself is 1.
    Source: Westfall and Young (1993), the single-step maximum.
    """
    sums = unit_sums(points, units)
    norms = np.sqrt(((sums[:, :, None] - sums[:, None, :]) ** 2).sum(axis=0))
    norms[norms == 0] = np.inf
    observed = np.abs(_differences(sums.sum(axis=0))) / norms

    def largest(coins: object) -> FloatArray:
        totals = (1 - 2 * np.asarray(coins, dtype=np.float64)) @ sums
        return np.array([[(np.abs(_differences(row)) / norms).max()] for row in totals])

    if is_few(len(sums), NUM_RESAMPLES):
        found, drawn = enumerated(largest, len(sums), sums.shape[1] ** 2)[:, 0], 0
    else:
        rng = generator(seed, "borda", "flips")
        found, drawn = resampled(largest, draw_swaps, len(sums), NUM_RESAMPLES, rng, sums.shape[1] ** 2)[:, 0], 1
    found = np.sort(found)
    reached = len(found) - np.searchsorted(found, observed - 1e-9, side="left")
    # The observed arrangement is one of those enumerated, but not of those drawn.
    return np.asarray((drawn + reached) / (drawn + len(found)))


def _differences(row: FloatArray) -> FloatArray:
    return np.asarray(row[:, None] - row[None, :])


def windows(separated: np.ndarray) -> list[tuple[int, int]]:
    """Return the largest runs (first, last) of models in which no pair is separated, at least two models each.

    Args:
        separated: models x models, in the order of their ranks.
    """
    found: list[tuple[int, int]] = []
    for first in range(len(separated)):
        last = first
        while last + 1 < len(separated) and not separated[first : last + 1, last + 1].any():
            last += 1
        if last > first and (not found or found[-1][1] < last):
            found.append((first, last))
    return found
