"""Friedman's test over tasks and the numbers of a critical-difference diagram: an overview of many models.

Verdicts come from the declared contrasts, never from here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import fdtrc, ndtr

from poolwise.results import RankPicture
from poolwise.stats.core.resampling import FloatArray
from poolwise.stats.core.wilcoxon import doubled_midranks, tolerance

MIN_TASKS = 5
"""Minimum number of tasks: with fewer, the critical difference is as wide as the diagram."""


def rank_picture(
    category: str,
    names: Sequence[str],
    scores: Sequence[FloatArray],
    rng: np.random.Generator,
    num_resamples: int = 10_000,
) -> RankPicture | None:
    """Return Friedman's test and the mean ranks of scores (one row per entrant); None below 5 tasks or 3 entrants.

    Rank 1 is the best. p is from the Iman-Davenport F test for ten tasks or more, else from permuted ranks.
    """
    num_tasks, count = len(scores[0]), len(scores)
    if num_tasks < MIN_TASKS or count < 3:
        return None
    ranks = np.array([doubled_midranks(-row, tolerance(row)) / 2 for row in np.transpose(scores)])
    chi_square = friedman_statistic(ranks)
    if num_tasks >= 10:
        p, test = iman_davenport(chi_square, num_tasks, count), "Friedman, Iman-Davenport F"
    else:
        p, test = permuted_p(ranks, chi_square, rng, num_resamples), f"Friedman, {num_resamples} permutations"
    means = ranks.mean(axis=0)
    order = np.argsort(means, kind="stable")
    difference = critical_difference(count, num_tasks)
    ordered = [float(means[i]) for i in order]
    return RankPicture(
        category=category,
        names=[names[i] for i in order],
        mean_ranks=ordered,
        num_tasks=num_tasks,
        p=p,
        test=test,
        critical_difference=difference,
        groups=cliques([names[i] for i in order], ordered, difference),
    )


def friedman_statistic(ranks: FloatArray) -> float:
    """Return Friedman's chi-square of ranks (tasks x entrants) with its correction for ties; 0 if all are tied."""
    num_tasks, count = ranks.shape
    spread = ((ranks - (count + 1) / 2) ** 2).sum()
    if spread <= 0:
        return 0.0
    sums = ranks.sum(axis=0) - num_tasks * (count + 1) / 2
    return float((count - 1) * (sums**2).sum() / spread)


def iman_davenport(chi_square: float, num_tasks: int, count: int) -> float:
    """Return the p of Iman and Davenport's F test, which is less conservative than Friedman's chi-square."""
    room = num_tasks * (count - 1) - chi_square
    if room <= 1e-12:
        return float(np.finfo(float).tiny)
    statistic = (num_tasks - 1) * chi_square / room
    return float(max(np.finfo(float).tiny, fdtrc(count - 1, (count - 1) * (num_tasks - 1), statistic)))


def permuted_p(ranks: FloatArray, observed: float, rng: np.random.Generator, num_resamples: int) -> float:
    """Return the Monte Carlo p of the statistic, with the ranks of each task shuffled."""
    sums = np.zeros((num_resamples, ranks.shape[1]))
    for row in ranks - ranks.mean():
        sums += rng.permuted(np.tile(row, (num_resamples, 1)), axis=1)
    spread = ((ranks - ranks.mean()) ** 2).sum()
    if spread <= 0:
        return 1.0
    reached = (ranks.shape[1] - 1) * (sums**2).sum(axis=1) / spread >= observed - 1e-9
    return float((np.count_nonzero(reached) + 1) / (num_resamples + 1))


def critical_difference(count: int, num_tasks: int, alpha: float = 0.05) -> float:
    """Return Nemenyi's critical difference of mean ranks.

    Source: Demsar (2006), Statistical comparisons of classifiers over multiple data sets.
    """
    return float(normal_range_quantile(count, 1 - alpha) * np.sqrt(count * (count + 1) / (12 * num_tasks)))


def normal_range_quantile(count: int, probability: float) -> float:
    """Return the quantile of the range of ``count`` standard normal values (the studentized range, known variance)."""
    grid = np.linspace(-9, 9, 4001)
    density = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        inside = count * np.trapezoid(density * (ndtr(grid) - ndtr(grid - middle)) ** (count - 1), grid)
        low, high = (middle, high) if inside < probability else (low, middle)
    return (low + high) / 2


def cliques(names: list[str], mean_ranks: list[float], difference: float) -> list[list[str]]:
    """Return the longest runs of two or more neighbours whose mean ranks are within the critical difference."""
    groups: list[list[str]] = []
    last_end = 0
    for start in range(len(names)):
        end = start + sum(rank - mean_ranks[start] <= difference for rank in mean_ranks[start:])
        if end - start > 1 and end > last_end:
            groups.append(names[start:end])
        last_end = max(last_end, end)
    return groups
