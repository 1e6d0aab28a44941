"""Percentile and BCa bootstrap over items, for metrics that are means of per-item values."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from poolwise.stats.core.resampling import (
    Draws,
    FloatArray,
    IntArray,
    draw_weights,
    on_grid,
    resampled,
)

MIN_ITEMS = 10
"""Minimum number of independent units for an interval: with fewer, a percentile interval is far too short."""


def num_units(units: IntArray) -> int:
    """Return the number of independent units."""
    return int(units.max()) + 1 if len(units) else 0


def bootstrap_means(values: FloatArray, units: IntArray, num_resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return the resampled means (resamples x models) of values (items x models); all models share the draws."""
    sums = mean_columns(values, units)
    return resampled(lambda weights: weighted_means(sums, weights), draw_weights, len(sums), num_resamples, rng)


def mean_columns(values: FloatArray, units: IntArray) -> FloatArray:
    """Return the sums of each unit's values and, last, its size (units x models + 1): input of ``weighted_means``.

    The items of a unit are always drawn together, so sums and size are enough.
    """
    size = num_units(units)
    sums = np.zeros((size, values.shape[1] + 1))
    np.add.at(sums, units, np.column_stack([values, np.ones(len(values))]))
    return on_grid(sums, size)


def weighted_means(sums: FloatArray, weights: Draws) -> FloatArray:
    """Return the weighted means (resamples x models); a unit with weight k counts k times."""
    drawn = weights.astype(np.float64) @ sums
    return np.asarray(drawn[:, :-1] / drawn[:, -1:])


def percentile_interval(resampled: FloatArray, level: float) -> tuple[float, float]:
    """Return the interval that holds the central ``level`` share of a resampled statistic."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca_interval(resampled: FloatArray, observed: float, influence: FloatArray, level: float) -> tuple[float, float]:
    """Return the bias-corrected and accelerated interval of a mean-type statistic.

    Args:
        influence: each unit's contribution to the statistic, up to a factor; its skewness gives the acceleration.
    Source: Efron (1987), Better bootstrap confidence intervals.
    """
    below = (np.count_nonzero(resampled < observed) + np.count_nonzero(resampled <= observed)) / 2
    bias = float(ndtri(np.clip(below / len(resampled), 1e-6, 1 - 1e-6)))
    centred = influence - influence.mean()
    spread = float((centred**2).sum())
    if spread <= 0:
        return observed, observed
    acceleration = float((centred**3).sum()) / (6 * spread**1.5)
    shifted = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.quantile(resampled, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return float(low), float(high)
