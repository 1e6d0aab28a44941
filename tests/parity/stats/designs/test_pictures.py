"""Friedman and the critical difference against scipy."""

import numpy as np
import pytest
from scipy import stats

from poolwise.stats.designs.friedman import (
    critical_difference,
    friedman_statistic,
    iman_davenport,
    normal_range_quantile,
)


@pytest.mark.parametrize("tied", [False, True])
def test_friedman_equals_scipy(tied: bool) -> None:
    scores = np.random.default_rng(0).normal(size=(12, 4)) + np.arange(4) * 0.3
    scores = scores.round(0) if tied else scores
    ranks = stats.rankdata(-scores, axis=1)
    assert friedman_statistic(ranks) == pytest.approx(stats.friedmanchisquare(*scores.T).statistic)


def test_iman_davenport_is_the_f_test_of_the_ranks() -> None:
    # Two-way analysis of variance of the ranks, tasks as blocks, is the same F.
    ranks = stats.rankdata(np.random.default_rng(1).normal(size=(10, 5)) + np.arange(5) * 0.4, axis=1)
    between = 10 * ((ranks.mean(axis=0) - 3) ** 2).sum() / 4
    within = ((ranks - ranks.mean(axis=0)) ** 2).sum() / 36
    ours = iman_davenport(friedman_statistic(ranks), 10, 5)
    assert ours == pytest.approx(stats.f.sf(between / within, 4, 36), rel=1e-9)


@pytest.mark.parametrize("count", [2, 3, 8, 20])
def test_range_quantile_equals_scipy(count: int) -> None:
    # Ten million degrees of freedom stand for a known variance.
    expected = stats.studentized_range.ppf(0.95, count, 1e7)
    assert normal_range_quantile(count, 0.95) == pytest.approx(expected, rel=1e-4)
    assert critical_difference(count, 10) == pytest.approx(expected * np.sqrt(count * (count + 1) / 120), rel=1e-4)
