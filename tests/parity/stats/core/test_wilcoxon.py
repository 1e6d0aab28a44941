"""Signed ranks against scipy where it is exact, against a list of all sign patterns where it is not."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from poolwise.stats.core.wilcoxon import signed_rank_interval, signed_rank_test


@pytest.mark.parametrize("count", [3, 5, 8, 14, 25, 50])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_equals_scipy_without_ties(count: int, shift: float) -> None:
    differences = np.random.default_rng(count).normal(shift, 1, count)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank_test(differences).p == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [4, 7, 10])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_list_of_all_signs_with_ties_and_zeros(count: int, seed: int) -> None:
    differences = np.random.default_rng(seed).integers(-3, 5, count) / 10
    nonzero = differences[differences != 0]
    ranks = stats.rankdata(np.abs(nonzero))
    centre = ranks.sum() / 2
    observed = abs(ranks[nonzero > 0].sum() - centre)
    sums = [abs(sum(r for r, up in zip(ranks, signs, strict=True) if up) - centre) for signs in _signs(len(nonzero))]
    assert signed_rank_test(differences).p == pytest.approx(np.mean([s >= observed - 1e-9 for s in sums]), rel=1e-12)


def _signs(count: int) -> list[tuple[bool, ...]]:
    return list(product([False, True], repeat=count))


def test_near_scipys_normal_approximation_with_many_ties() -> None:
    differences = np.random.default_rng(0).integers(-4, 6, 400).astype(float)
    expected = stats.wilcoxon(differences, zero_method="wilcox", correction=True, method="asymptotic").pvalue
    assert signed_rank_test(differences).p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [6, 8, 12])
def test_interval_holds_the_shifts_that_scipy_does_not_reject(count: int) -> None:
    differences = np.random.default_rng(count).normal(0.5, 1, count)
    low, high = signed_rank_interval(differences) or (0.0, 0.0)
    for shift, inside in ((low - 1e-6, False), (low + 1e-6, True), (high - 1e-6, True), (high + 1e-6, False)):
        assert bool(stats.wilcoxon(differences - shift, method="exact").pvalue > 0.05) is inside
