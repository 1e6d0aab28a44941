"""Signed ranks worked out by hand."""

import pytest

from poolwise.stats.core.wilcoxon import (
    hodges_lehmann,
    signed_rank_interval,
    signed_rank_test,
    smallest_attainable_p,
)


@pytest.mark.parametrize(("count", "p"), [(3, 0.25), (4, 0.125), (6, 0.03125), (8, 0.0078125), (11, 2**-10)])
def test_smallest_p_is_that_of_the_paper(count: int, p: float) -> None:
    assert smallest_attainable_p(count) == p
    assert signed_rank_test([float(k) for k in range(1, count + 1)]).p == p


def test_all_zeros_give_p_one() -> None:
    test = signed_rank_test([0.0, 0.0, 0.0])
    assert (test.p, test.smallest_p, test.num_zeros, test.num_nonzero) == (1.0, 1.0, 3, 0)


def test_no_differences_and_one_difference() -> None:
    assert signed_rank_test([]).p == 1.0
    assert signed_rank_test([0.3]).p == 1.0


def test_four_by_hand() -> None:
    # Ranks 1 2 3 4, negative sum 1: sums 0 and 1 have one arrangement each, so p = 2 * 2 / 16.
    assert signed_rank_test([-0.1, 0.2, 0.3, 0.4]).p == 0.25


def test_ties_take_midranks() -> None:
    # |d| = 1 1 2: midranks 1.5 1.5 3; negative sum 1.5: P(sum <= 1.5) = (0) + (1.5, 1.5) = 3 of 8.
    test = signed_rank_test([-1.0, 1.0, 2.0])
    assert test.p == 0.75
    assert test.direction == 1


def test_float_noise_breaks_no_tie_and_makes_no_difference() -> None:
    clean = signed_rank_test([-0.1, 0.1, 0.2, 0.0])
    noisy = signed_rank_test([0.2 - 0.3, 0.3 - 0.2, 0.4 - 0.2, 0.1 + 0.2 - 0.3])
    assert (noisy.p, noisy.num_zeros) == (clean.p, 1)


def test_direction_follows_the_ranks_not_the_mean() -> None:
    assert signed_rank_test([-1.0, -2.0, -3.0, 100.0]).direction == -1
    assert signed_rank_test([1.0, -1.0]).direction == 0


def test_interval_needs_six_tasks() -> None:
    assert signed_rank_interval([0.1, 0.2, 0.3, 0.4, 0.5]) is None
    # With six, only the extreme Walsh averages are left out of nothing: the interval is the range.
    assert signed_rank_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == (1.0, 6.0)


def test_hodges_lehmann_is_the_median_of_pair_means() -> None:
    # Pair means of 0 1 5: 0 .5 1 2.5 3 5, median 1.75.
    assert hodges_lehmann([0.0, 1.0, 5.0]) == 1.75


def test_more_differences_than_are_enumerated() -> None:
    test = signed_rank_test([1.0 + 0.001 * k for k in range(250)])
    assert not test.is_exact
    assert 0 < test.p < 1e-30


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        signed_rank_test([0.1, float("nan")])
