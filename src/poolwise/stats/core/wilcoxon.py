"""The exact Wilcoxon signed-rank test, with ties and zeros, and the interval that goes with it.

scipy falls back to a normal approximation as soon as two differences tie or one is zero. Category tables have
few tasks and rounded scores, so ties and zeros are the rule; here the null distribution of the midranks at hand
is enumerated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

EXACT_LIMIT = 200
"""Non-zero differences up to which the null is enumerated; above, the normal approximation with tie correction."""


@dataclass(frozen=True)
class SignedRank:
    """A signed-rank test: two-sided ``p``, and the least p that this many non-zero differences could give."""

    p: float
    smallest_p: float
    num_nonzero: int
    num_zeros: int
    rank_sum: float
    is_exact: bool

    @property
    def direction(self) -> int:
        """Return the sign of the shift that the ranks see: 1, -1, or 0 where they balance."""
        return int(np.sign(4 * self.rank_sum - self.num_nonzero * (self.num_nonzero + 1)))


def tolerance(differences: NDArray[np.float64]) -> float:
    """Return the gap up to which two differences count as equal: 1e-9 of the largest, at least 1e-12.

    Scores are written with 16 digits, so float noise in their differences is near 1e-16 of the scores; a real
    gap between means of items is above 1e-7.
    """
    return max(1e-12, 1e-9 * float(np.max(np.abs(differences), initial=0.0)))


def _finite(differences: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(differences, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise ValueError("differences hold NaN or infinity")
    return values


def doubled_midranks(values: NDArray[np.float64], gap: float) -> NDArray[np.int64]:
    """Return twice the midrank of each value; neighbours in order of size that lie within ``gap`` tie."""
    order = np.argsort(values, kind="stable")
    starts_group = np.diff(values[order], prepend=-np.inf) > gap
    group = np.cumsum(starts_group) - 1
    first = np.flatnonzero(starts_group)
    last = np.append(first[1:], len(values)) - 1
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = (first + last + 2)[group]
    return ranks


def null_distribution(doubled_ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return P(sum of the positive doubled ranks = s) for s = 0, 1, 2 ..., every sign being a fair coin.

    One rank at a time is added to the distribution of the sums; up to 50 ranks every value is exact in binary.
    """
    probability = np.zeros(int(doubled_ranks.sum()) + 1)
    probability[0] = 1.0
    for rank in doubled_ranks:
        shifted = np.zeros_like(probability)
        shifted[rank:] = probability[: len(probability) - rank]
        probability = (probability + shifted) / 2
    return probability


def smallest_attainable_p(num_nonzero: int) -> float:
    """Return the least two-sided p that ``num_nonzero`` differences can give: all of one sign."""
    return float(min(1.0, 2.0 ** (1 - num_nonzero)))


def signed_rank_test(differences: ArrayLike) -> SignedRank:
    """Return the two-sided signed-rank test that the differences are symmetric about zero.

    Zeros are dropped and counted, ties take midranks. If all are zero, p is 1.

    Law: 0 < p <= 1; p of ``-differences`` is the same.
    Source: arXiv:2409.02727 uses the test over the data sets of a category; enumeration as in Pratt and Gibbons (1981).
    """
    values = _finite(differences)
    gap = tolerance(values)
    nonzero = values[np.abs(values) > gap]
    count, zeros = len(nonzero), len(values) - len(nonzero)
    if count == 0:
        return SignedRank(1.0, 1.0, 0, zeros, 0.0, True)
    ranks = doubled_midranks(np.abs(nonzero), gap)
    positive = int(ranks[nonzero > 0].sum())
    is_exact = count <= EXACT_LIMIT
    p = _enumerated_p(ranks, positive) if is_exact else _normal_p(ranks, positive)
    return SignedRank(p, smallest_attainable_p(count), count, zeros, positive / 2, is_exact)


def _enumerated_p(ranks: NDArray[np.int64], positive: int) -> float:
    probability = null_distribution(ranks)
    low = min(positive, int(ranks.sum()) - positive)
    return min(1.0, 2.0 * float(probability[: low + 1].sum()))


def _normal_p(ranks: NDArray[np.int64], positive: int) -> float:
    """The sum over midranks squared is the variance with its tie correction; half a rank of continuity."""
    centre, spread = ranks.sum() / 4, np.sqrt(np.sum((ranks / 2.0) ** 2) / 4)
    z = max(0.0, abs(positive / 2 - centre) - 0.5) / spread
    return float(min(1.0, max(2 * ndtr(-z), np.finfo(float).tiny)))


def walsh_averages(differences: ArrayLike) -> NDArray[np.float64]:
    """Return the sorted means of all pairs of differences, each with itself included."""
    values = _finite(differences)
    row, column = np.triu_indices(len(values))
    return np.sort((values[row] + values[column]) / 2)


def hodges_lehmann(differences: ArrayLike) -> float:
    """Return the median of the Walsh averages: the shift that the signed-rank test sees."""
    return float(np.median(walsh_averages(differences)))


def signed_rank_interval(differences: ArrayLike, level: float = 0.95) -> tuple[float, float] | None:
    """Return the shifts that the signed-rank test does not reject at ``1 - level``; None if it can reject none.

    The ends are Walsh averages, so the interval belongs to the Hodges-Lehmann estimate, not to the mean.
    With ties it covers at least at its level.
    """
    averages = walsh_averages(differences)
    outside = walsh_outside(len(_finite(differences)), level)
    return (float(averages[outside - 1]), float(averages[len(averages) - outside])) if outside else None


def walsh_outside(count: int, level: float) -> int:
    """Return which Walsh average from either end is the end of the interval; 0 where the test can reject nothing."""
    if count == 0 or smallest_attainable_p(count) > 1 - level + 1e-12:
        return 0
    lower_tail = np.cumsum(null_distribution(np.arange(1, count + 1, dtype=np.int64)))
    return int(np.searchsorted(lower_tail, (1 - level) / 2 + 1e-12, side="right"))
