"""Paired sign-flip permutation of per-item differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from poolwise.stats.resampling import (
    EXACT_UNITS,
    FloatArray,
    IntArray,
    all_swaps,
    generator,
    iter_swaps,
    permutation_p,
    units_of,
)


@dataclass(frozen=True)
class Permutation:
    """A two-sided permutation p, the least p it could have been, and whether all arrangements were enumerated."""

    p: float
    smallest_p: float
    is_exact: bool


def signflip_test(
    differences: ArrayLike, group: Sequence[str] = (), *, num_resamples: int = 10_000, seed: int = 0
) -> Permutation:
    """Return the test that each unit's difference is as likely positive as negative.

    Args:
        differences: one value an item, a minus b.
        group: items with one name flip together; empty for independent items.
    Law: 0 < p <= 1; p of ``-differences`` is the same.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("differences hold NaN or infinity")
    sums = unit_sums(values[:, None], units_of(group, len(values)))
    return signflip_tests(sums, flipped_sums(sums, num_resamples, generator(seed, "signflip")))[0]


def unit_sums(differences: FloatArray, units: IntArray) -> FloatArray:
    """Return the differences (items x contrasts) summed over the items of each unit (units x contrasts)."""
    sums = np.zeros((int(units.max()) + 1, differences.shape[1]))
    np.add.at(sums, units, differences)
    return sums


def flipped_sums(sums: FloatArray, num_resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return the column totals (resamples x contrasts) under random signs of the units."""
    total = sums.sum(axis=0)
    # Signs are 1 - 2 coin: the total less twice what the coins take.
    chunks = iter_swaps(np.arange(len(sums)), num_resamples, rng)
    return np.concatenate([total - 2 * (coins.T @ sums) for coins in chunks])


def signflip_tests(sums: FloatArray, flipped: FloatArray) -> list[Permutation]:
    """Return the sign-flip test of each column; a column with few non-zero units is enumerated instead."""
    scale = np.abs(sums).sum(axis=0)
    nonzero = np.abs(sums) > 1e-12 + 1e-9 * np.abs(sums).max(axis=0, initial=0.0)
    tests = []
    for column in range(sums.shape[1]):
        kept = sums[nonzero[:, column], column]
        if len(kept) <= EXACT_UNITS:
            tests.append(_enumerated(kept))
        else:
            p = permutation_p(float(sums[:, column].sum()), flipped[:, column], float(scale[column]))
            tests.append(Permutation(p, 1 / (len(flipped) + 1), False))
    return tests


def _enumerated(sums: FloatArray) -> Permutation:
    """All 2^n sign vectors; the one at hand is among them, so p is at least 2^-n without a correction."""
    if len(sums) == 0:
        return Permutation(1.0, 1.0, True)
    flipped = sums.sum() - 2 * (sums @ all_swaps(len(sums)))
    reached = np.count_nonzero(np.abs(flipped) >= abs(sums.sum()) - 1e-9 * np.abs(sums).sum())
    return Permutation(reached / len(flipped), min(1.0, 2.0 ** (1 - len(sums))), True)
