"""Means and ratios over users, with their variances, from sums: users are clusters, and events within one may depend.

A user has a numerator, a denominator (1 for a mean per user) and a covariate from before the experiment. All that is
needed are sums of these, of their squares and of their products, so sums of days can be added up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
SUMS = ("count", "n", "d", "x", "nn", "nd", "dd", "nx", "dx", "xx")
"""The sums, in the order of the last axis: n numerator, d denominator, x covariate."""
_SIMILAR = 0.8
"""Arms whose sizes have at least this ratio count as equal in size."""


def user_sums(numerators: FloatArray, denominators: FloatArray, covariates: FloatArray) -> FloatArray:
    """Return each user's part of the sums (... 10)."""
    n, d, x = numerators, denominators, covariates
    return np.stack([np.ones_like(n), n, d, x, n * n, n * d, d * d, n * x, d * x, x * x], axis=-1)


@dataclass(frozen=True)
class Difference:
    """A difference of two arms: its estimate, its variance, and the two ratios without adjustment."""

    estimate: FloatArray
    variance: FloatArray
    baseline: FloatArray
    treatment: FloatArray


def difference(baseline: FloatArray, treatment: FloatArray, *, adjust: bool = False) -> Difference:
    """Return treatment minus baseline, where each is the sum of numerators over the sum of denominators.

    The variance is that of the delta method on users' sums. An arm with fewer than 80% of the users of the other takes
    at least the variance of both together: where values are skewed, a small arm has often not seen the large ones yet,
    and skewness cancels only between arms of one size. Without it, skewed values with a split of 90/10 rejected up to
    13% instead of 5% from 200 users on, and 22% from 50 on (``benchmarks/experiment_levels.py``).

    With ``adjust``, the part of each arm's ratio that the covariate predicts is taken off, at the one slope that makes
    the variance of the difference smallest.

    Law: a covariate that is the same for all users changes nothing.
    Source: Deng, Knoblich and Lu (2018), arXiv:1803.06336, for the delta method on clusters; Deng, Xu, Kohavi and
    Walker (2013) for the adjustment (CUPED).

    Args:
        baseline, treatment: sums over users (... 10) in the order of ``SUMS``.
    """
    arms = [_linear(baseline), _linear(treatment)]
    slope = _slope(arms) if adjust else np.zeros_like(arms[0].ratio)
    estimates = [arm.ratio - slope * arm.covariate for arm in arms]
    # Rounding can leave a variance of -1e-20 where a covariate explains everything.
    own = [
        np.maximum(arm.variance - 2 * slope * arm.covariance + slope**2 * arm.covariate_variance, 0.0) for arm in arms
    ]
    counts = [arm.count for arm in arms]
    both = (counts[0] * own[0] + counts[1] * own[1]) / (counts[0] + counts[1])
    floored = [
        np.where(counts[place] < _SIMILAR * counts[1 - place], np.maximum(own[place], both), own[place])
        for place in (0, 1)
    ]
    variance = floored[0] / counts[0] + floored[1] / counts[1]
    return Difference(estimates[1] - estimates[0], variance, arms[0].ratio, arms[1].ratio)


@dataclass(frozen=True)
class _Linear:
    """One arm: its ratio, and moments of the users' linearised values and covariates."""

    count: FloatArray
    ratio: FloatArray
    variance: FloatArray
    covariate: FloatArray
    covariance: FloatArray
    covariate_variance: FloatArray


def _linear(sums: FloatArray) -> _Linear:
    """A user's linearised value is (numerator - ratio * denominator) / mean denominator; its mean is 0."""
    count, n, d, x, nn, nd, dd, nx, dx, xx = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, scale = n / d, count / d
        squares = (nn - 2 * ratio * nd + ratio**2 * dd) * scale**2
        return _Linear(
            count,
            ratio,
            np.maximum(squares, 0.0) / (count - 1),
            x / count,
            (nx - ratio * dx) * scale / (count - 1),
            np.maximum(xx - x * x / count, 0.0) / (count - 1),
        )


def _slope(arms: list[_Linear]) -> FloatArray:
    together = sum(arm.covariance / arm.count for arm in arms)
    spread = sum(arm.covariate_variance / arm.count for arm in arms)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, together / np.where(spread > 0, spread, 1.0), 0.0)
