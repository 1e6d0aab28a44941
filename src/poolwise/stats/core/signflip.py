"""Paired sign-flip permutation tests of per-item differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poolwise.stats.core.resampling import (
    EXACT_UNITS,
    Draws,
    FloatArray,
    IntArray,
    all_swaps,
    draw_swaps,
    generator,
    on_grid,
    permutation_p,
    resampled,
    units_of,
)


@dataclass(frozen=True)
class Permutation:
    """A two-sided permutation p, the smallest possible p, and whether all arrangements were enumerated.

    ``num_drawn``: number of random arrangements; 0 if all were enumerated.
    ``bound``: an upper bound of the p over all arrangements; 1 if none is known.
    ``is_bounded``: whether p was taken from the bound, without further permutations.
    """

    p: float
    smallest_p: float
    is_exact: bool
    num_drawn: int = 0
    bound: float = 1.0
    is_bounded: bool = False


def signflip_test(
    differences: ArrayLike, group: Sequence[str] = (), *, num_resamples: int = 10_000, seed: int = 0
) -> Permutation:
    """Return the sign-flip test of the null hypothesis that each unit's difference has a random sign.

    Args:
        differences: one value an item, a minus b.
        group: items with the same group name flip together; empty for independent items.
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
    columns = on_grid(sums, len(sums))
    total = columns.sum(axis=0)

    def flip(coins: Draws) -> FloatArray:
        # Signs are 1 - 2 coin: the total minus twice the sum that the coins select.
        return np.asarray(total - 2 * (coins.astype(np.float64) @ columns))

    return resampled(flip, draw_swaps, len(sums), num_resamples, rng)


def signflip_tests(sums: FloatArray, flipped: FloatArray) -> list[Permutation]:
    """Return the sign-flip test of each column."""
    return noise_tests(sums.sum(axis=0), sums, flipped)


def noise_tests(observed: FloatArray, sums: FloatArray, flipped: FloatArray) -> list[Permutation]:
    """Return the tests of totals whose noise is that of the flips, although they are not the sums being flipped.

    A total beyond all flips counts as the most extreme flip, so that p is never smaller than the flips allow.
    If few units change under a flip, all their flips are enumerated instead of drawn.
    """
    scale = np.abs(sums).sum(axis=0)
    totals, moved = np.clip(observed, -scale, scale), moved_units(sums)
    tests = []
    for column, (total, units, size) in enumerate(zip(totals, sums.T, scale, strict=True)):
        kept, drawn = units[moved[:, column]], flipped[:, column]
        if len(kept) <= EXACT_UNITS:
            tests.append(_enumerated(kept, float(total)))
        else:
            p = permutation_p(float(total), drawn, float(size))
            tests.append(Permutation(p, 1 / (len(drawn) + 1), False, len(drawn), tail_bound(kept, float(total))))
    return tests


def moved_units(sums: FloatArray) -> NDArray[np.bool_]:
    """Return which units (rows) change under a flip, by contrast: those whose sum is more than rounding error."""
    return np.asarray(np.abs(sums) > 1e-12 + 1e-9 * np.abs(sums).max(axis=0, initial=0.0))


def tail_bound(sums: FloatArray, total: float | None = None) -> float:
    """Return an upper bound of the p over all sign patterns, for the sum of ``sums`` or another total.

    Source: Hoeffding (1963), theorem 2: for fair signs, P(|sum| >= t) <= 2 exp(-t^2 / (2 sum of squares)).
    """
    squares, reach = float(sums @ sums), float(sums.sum()) if total is None else float(total)
    return min(1.0, 2 * float(np.exp(-(reach**2) / (2 * squares)))) if squares > 0 else 1.0


def _enumerated(sums: FloatArray, total: float) -> Permutation:
    """Test with all 2^n sign vectors; the two most extreme reach any total, so p >= 2^(1 - n) without a correction."""
    if len(sums) == 0:
        return Permutation(1.0, 1.0, True)
    flipped = sums.sum() - 2 * (all_swaps(len(sums)) @ sums)
    reached = int(np.count_nonzero(np.abs(flipped) >= abs(total) - 1e-9 * np.abs(sums).sum()))
    return Permutation(reached / len(flipped), min(1.0, 2.0 ** (1 - len(sums))), True)
