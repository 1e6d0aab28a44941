"""Corrections for multiple testing: adjusted p-values of a family of tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given; rejecting at alpha keeps the family-wise error below it.

    Law: never below the raw p, never above 1, in the same order as the raw p.
    """
    return _step(p_values, lambda p, rank, m: np.maximum.accumulate(p * (m - rank + 1)))


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
    if np.any(~(raw > 0) | (raw > 1)):
        raise ValueError(f"p-values must be in (0, 1], got {raw[~(raw > 0) | (raw > 1)][:3].tolist()}")
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(1.0, adjust(raw[order], np.arange(1, len(raw) + 1), len(raw)))
    return [float(p) for p in adjusted]
