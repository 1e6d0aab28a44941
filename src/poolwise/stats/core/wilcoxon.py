"""The exact Wilcoxon signed-rank test with ties and zeros, and its interval.

scipy switches to a normal approximation as soon as two differences tie or one is zero. Categories have few tasks and
rounded scores, so ties and zeros are common. Here the null distribution of the actual midranks is enumerated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

EXACT_LIMIT = 200
"""Most non-zero differences for enumeration; above, the normal approximation with tie correction is used."""


@dataclass(frozen=True)
class SignedRank:
    """A signed-rank test: two-sided ``p``, and the smallest p that this many non-zero units can give.

    ``num_units``: independent units whose sign matters: the non-zero differences, or their groups.
    ``direction``: the sign of the shift by rank sums: 1, -1, or 0 if they are equal.
    """

    p: float
    smallest_p: float
    num_nonzero: int
    num_zeros: int
    direction: int
    is_exact: bool
    num_units: int


def tolerance(differences: NDArray[np.float64]) -> float:
    """Return the gap up to which two differences count as equal: 1e-9 of the largest, at least 1e-12.

    Scores are stored with 16 digits, so rounding errors in their differences are near 1e-16 of the scores. Real gaps
    between means of items are above 1e-7.
    """
    return max(1e-12, 1e-9 * float(np.max(np.abs(differences), initial=0.0)))


def _finite(differences: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(differences, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise ValueError("differences hold NaN or infinity")
    return values


def doubled_midranks(values: NDArray[np.float64], gap: float) -> NDArray[np.int64]:
    """Return twice the midrank of each value; sorted neighbours at most ``gap`` apart are ties."""
    order = np.argsort(values, kind="stable")
    starts_group = np.diff(values[order], prepend=-np.inf) > gap
    group = np.cumsum(starts_group) - 1
    first = np.flatnonzero(starts_group)
    last = np.append(first[1:], len(values)) - 1
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = (first + last + 2)[group]
    return ranks


def null_distribution(doubled_ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return P(sum of the positive doubled ranks = s) for s = 0, 1, 2 ..., with fair random signs.

    Ranks are added to the distribution one at a time. Up to 50 ranks, all values are exact in float64.
    """
    probability = np.zeros(int(doubled_ranks.sum()) + 1)
    probability[0] = 1.0
    for rank in doubled_ranks:
        shifted = np.zeros_like(probability)
        shifted[rank:] = probability[: len(probability) - rank]
        probability = (probability + shifted) / 2
    return probability


def smallest_attainable_p(num_nonzero: int) -> float:
    """Return the smallest two-sided p that ``num_nonzero`` differences can give: all have the same sign."""
    return float(min(1.0, 2.0 ** (1 - num_nonzero)))


def signed_rank_test(differences: ArrayLike, group: Sequence[str] = ()) -> SignedRank:
    """Return the two-sided signed-rank test of the null hypothesis that the differences are symmetric about zero.

    Zeros are dropped and counted, ties take midranks. If all are zero, p is 1.

    Args:
        group: differences with the same group name depend on each other, and their signs flip together; empty if all
            are independent.
    Law: 0 < p <= 1; p of ``-differences`` is the same.
    Source: arXiv:2409.02727 uses the test over the data sets of a category; enumeration as in Pratt and Gibbons (1981).
    """
    values = _finite(differences)
    gap = tolerance(values)
    is_kept = np.abs(values) > gap
    nonzero = values[is_kept]
    count, zeros = len(nonzero), int(len(values) - len(nonzero))
    if count == 0:
        return SignedRank(1.0, 1.0, 0, zeros, 0, True, 0)
    ranks = np.sign(nonzero).astype(np.int64) * doubled_midranks(np.abs(nonzero), gap)
    sums = _by_group(ranks, [name for name, kept in zip(group, is_kept, strict=True) if kept] if group else ())
    steps, total = np.abs(sums[sums != 0]), int(sums.sum())
    is_exact = count <= EXACT_LIMIT
    p = _enumerated_p(steps, total) if is_exact else _normal_p(steps, total)
    direction = int(np.sign(total))
    return SignedRank(p, smallest_attainable_p(len(steps)), count, zeros, direction, is_exact, len(steps))


def _by_group(ranks: NDArray[np.int64], group: Sequence[str]) -> NDArray[np.int64]:
    """Return the sum of the signed ranks of each group."""
    if not group:
        return ranks
    names, unit = np.unique(np.asarray(group), return_inverse=True)
    sums = np.zeros(len(names), dtype=np.int64)
    np.add.at(sums, unit, ranks)
    return sums


def _enumerated_p(steps: NDArray[np.int64], total: int) -> float:
    """P that random signs of the steps give a sum as far from zero as ``total``."""
    if not len(steps):
        return 1.0
    probability = null_distribution(steps)
    reach = int(steps.sum())
    # The sum of the positive steps, from below.
    low = (reach - abs(total)) // 2
    return min(1.0, 2.0 * float(probability[: low + 1].sum()))


def _normal_p(steps: NDArray[np.int64], total: int) -> float:
    """Normal approximation with the variance of the actual ranks, and a continuity correction of half a rank."""
    spread = float(np.sqrt(np.sum(steps.astype(np.float64) ** 2)))
    z = max(0.0, abs(total) - 2.0) / spread if spread > 0 else 0.0
    return float(min(1.0, max(2 * ndtr(-z), np.finfo(float).tiny)))


def walsh_averages(differences: ArrayLike) -> NDArray[np.float64]:
    """Return the sorted means of all pairs of differences, including each difference with itself."""
    values = _finite(differences)
    row, column = np.triu_indices(len(values))
    return np.sort((values[row] + values[column]) / 2)


def hodges_lehmann(differences: ArrayLike) -> float:
    """Return the median of the Walsh averages: the shift estimate that belongs to the signed-rank test."""
    return float(np.median(walsh_averages(differences)))


def signed_rank_interval(
    differences: ArrayLike, level: float = 0.95, group: Sequence[str] = ()
) -> tuple[float, float] | None:
    """Return the range of shifts that the signed-rank test does not reject at ``1 - level``; None if it cannot reject.

    The ends are Walsh averages: it is an interval of the Hodges-Lehmann estimate (the typical difference), not of the
    mean. With ties, its coverage is at least ``level``.
    """
    averages = walsh_averages(differences)
    if len(set(group)) < len(group):
        return _grouped_interval(_finite(differences), averages, level, group)
    outside = walsh_outside(len(_finite(differences)), level)
    return (float(averages[outside - 1]), float(averages[len(averages) - outside])) if outside else None


def _grouped_interval(
    values: NDArray[np.float64], averages: NDArray[np.float64], level: float, group: Sequence[str]
) -> tuple[float, float] | None:
    """The same for dependent differences, by trying shifts between neighbouring Walsh averages from the middle out."""
    if smallest_attainable_p(len(set(group))) > 1 - level + 1e-12:
        return None
    ends = np.unique(averages)

    def last_kept(places: Sequence[int]) -> float:
        """Return the outermost end next to a shift that the test keeps; bisected, since p falls outwards."""
        kept, refused = 0, len(places)
        while refused - kept > 1:
            middle = (kept + refused) // 2
            shift = (ends[places[middle]] + ends[places[middle - 1]]) / 2
            if signed_rank_test(values - shift, group).p > 1 - level:
                kept = middle
            else:
                refused = middle
        return float(ends[places[kept]])

    centre = int(np.searchsorted(ends, np.median(averages)).clip(0, len(ends) - 1))
    return last_kept(range(centre, -1, -1)), last_kept(range(centre, len(ends)))


def walsh_outside(count: int, level: float) -> int:
    """Return k: the interval runs from the k-th smallest to the k-th largest Walsh average; 0 if none exists."""
    if count == 0 or smallest_attainable_p(count) > 1 - level + 1e-12:
        return 0
    lower_tail = np.cumsum(null_distribution(np.arange(1, count + 1, dtype=np.int64)))
    return int(np.searchsorted(lower_tail, (1 - level) / 2 + 1e-12, side="right"))
