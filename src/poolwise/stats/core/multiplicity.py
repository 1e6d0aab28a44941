"""Corrections for multiple testing: adjusted p-values of a family of tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


def tarone_holm(p_values: Sequence[float], smallest: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values without the tests that could not have been rejected at the level in question.

    A test whose smallest possible p is above a p cannot be rejected at it, so it costs nothing there: the factor of
    Holm at p is the number of tests left whose smallest p is at most p. With ``smallest`` all 0 this is Holm.

    Args:
        smallest: the smallest p that each test can give, known from the data without the direction of any difference.
    Rejecting at alpha keeps the family-wise error below it.

    Law: never above Holm's, never below the raw p, in the same order as the raw p.
    Source: Tarone (1990); the step-down form as in Hommel and Krummenauer (1998).
    """
    raw, floors = np.asarray(p_values, dtype=np.float64), np.sort(np.asarray(smallest, dtype=np.float64))
    _require_p(raw)
    order = np.argsort(raw, kind="stable")
    # Step r leaves out the r smallest p-values, and each of them has a floor at or below its own p.
    attainable = np.searchsorted(floors, raw[order], side="right") - np.arange(len(raw))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(raw[order] * np.maximum(attainable, 1)))
    return [float(p) for p in adjusted]


def num_attainable(smallest: Sequence[float], alpha: float) -> int:
    """Return Tarone's size of a family: the smallest k for which at most k tests can give a p of alpha / k or less.

    Single-step tests and intervals at alpha / k then keep the family-wise error at alpha.
    """
    floors = np.sort(np.asarray(smallest, dtype=np.float64))
    sizes = np.arange(1, len(floors) + 1)
    counts = np.searchsorted(floors, alpha / sizes, side="right")
    return int(sizes[counts <= sizes][0]) if len(floors) else 1


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return Benjamini and Hochberg's adjusted p-values: false discovery rate if the tests are independent."""
    return _step(p_values, lambda p, rank, m: np.minimum.accumulate((p * m / rank)[::-1])[::-1])


def benjamini_yekutieli(p_values: Sequence[float]) -> list[float]:
    """Return Benjamini and Yekutieli's adjusted p-values: false discovery rate under any dependence."""
    harmonic = sum(1 / k for k in range(1, len(p_values) + 1))
    return _step(p_values, lambda p, rank, m: np.minimum.accumulate((p * m * harmonic / rank)[::-1])[::-1])


Adjustment = Callable[[NDArray[np.float64], NDArray[np.int64], int], NDArray[np.float64]]


def _step(p_values: Sequence[float], adjust: Adjustment) -> list[float]:
    """Sort, adjust with ranks 1..m, clip to 1, restore the given order."""
    raw = np.asarray(p_values, dtype=np.float64)
    _require_p(raw)
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(1.0, adjust(raw[order], np.arange(1, len(raw) + 1), len(raw)))
    return [float(p) for p in adjusted]


def _require_p(raw: NDArray[np.float64]) -> None:
    if np.any(~(raw > 0) | (raw > 1)):
        raise ValueError(f"p-values must be in (0, 1], got {raw[~(raw > 0) | (raw > 1)][:3].tolist()}")
