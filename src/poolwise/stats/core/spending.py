"""Spending of the error rate over the looks of a sequential study."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

FIRST_LOOK = 2
"""Seeds at the first look of a study; with one seed, no test knows how much training runs vary."""


def look_shares(most_seeds: int) -> dict[int, float]:
    """Return the share of each look of a study of at most ``most_seeds`` seeds, by the seeds of the look."""
    sizes = range(FIRST_LOOK, most_seeds + 1)
    return dict(zip(sizes, spending(sizes), strict=True))


def spending(sizes: Sequence[int]) -> list[float]:
    """Return the share of the error rate that each look at growing data may use; the shares add up to 1.

    By a look, the square of the fraction of the data is spent: few seeds can decide little, so little is spent on them.
    A look is tested at its share alone, as if the looks had nothing to do with each other. That keeps the error rate of
    all looks together below alpha for any test and any dependence (the sum bounds it), and costs some power: looks at
    the same seeds agree mostly, and boundaries computed from their correlation would be wider.

    Args:
        sizes: how many seeds each look has, growing; the last look has all data.
    Source: the power family of Kim and DeMets (1987), rho = 2.
    """
    if any(later <= earlier for earlier, later in pairwise(sizes)) or not sizes or sizes[0] < 1:
        raise ValueError(f"the sizes of looks grow and are positive, got {list(sizes)}")
    spent = [0.0, *((size / sizes[-1]) ** 2 for size in sizes)]
    return [after - before for before, after in pairwise(spent)]
