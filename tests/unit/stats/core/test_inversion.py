"""Intervals by inverting sign flips, by hand and against enumeration."""

from __future__ import annotations

import numpy as np
import pytest

from poolwise.stats.core.inversion import flip_interval, flip_intervals, flip_tail
from poolwise.stats.core.resampling import all_swaps
from poolwise.stats.core.signflip import signflip_test


def test_six_by_hand() -> None:
    # 2.5% of 64 subsets is 1.6: the ends are the smallest and the largest mean of a subset, so single values.
    assert flip_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == (1.0, 6.0)
    assert flip_interval([1.0, 2.0, 3.0, 4.0, 5.0]) is None
    # At 75% it is 8 of 64: 1, 3/2, 2, 4/2, 6/3, 7/3, 5/2, then 5/2, the mean of 1 and 4.
    assert flip_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], level=0.75) == (2.5, 4.5)


@pytest.mark.parametrize("count", [7, 10, 13, 14, 16, 25])
def test_the_ends_are_where_the_test_begins_to_reject(count: int) -> None:
    values = np.random.default_rng(count).normal(0.3, 1.0, count)
    low, high = flip_interval(values, level=0.9) or (0.0, 0.0)
    for end, outwards in ((low, -1), (high, 1)):
        inside, outside = (
            signflip_test(values - end + outwards * step, num_resamples=40_000).p for step in (0.02, -0.02)
        )
        assert outside < 0.1 + 0.01 and inside > 0.1 - 0.01
        assert outside < inside


@pytest.mark.parametrize("kind", ["normal", "skewed", "one large"])
def test_the_saddlepoint_is_close_to_enumeration(kind: str) -> None:
    rng = np.random.default_rng(3)
    values = {
        "normal": rng.normal(0.5, 1, 16),
        "skewed": rng.exponential(1, 16) - 0.5,
        "one large": rng.normal(0.3, 1, 16),
    }[kind]
    if kind == "one large":
        values[0] = 6.0
    sums = values.sum() - 2 * (all_swaps(16) @ values)
    exact = np.mean(sums >= values.sum() - 1e-9)
    # Half of the observed arrangement is the usual correction of a discrete distribution.
    assert flip_tail(values[:, None])[0] == pytest.approx(exact - 2.0**-17, rel=0.12)


def test_all_of_one_sign_is_one_arrangement() -> None:
    assert flip_tail(np.full((20, 1), 0.4))[0] == 2.0**-20


def test_groups_flip_together() -> None:
    values = [0.1, 0.3, 0.2, 0.2, 0.5, 0.1, 0.4, 0.4]
    pairs = ["a", "a", "b", "b", "c", "c", "d", "d"]
    assert flip_interval(values) is not None
    assert flip_interval(values, pairs) is None
    assert flip_interval(values, pairs, level=0.5) == pytest.approx(flip_interval([0.2, 0.2, 0.3, 0.4], level=0.5))


def test_columns_are_those_of_single_intervals() -> None:
    table = np.random.default_rng(5).normal(0, 1, (18, 3))
    found = flip_intervals(table, np.arange(18), 0.99)
    assert found is not None
    singles = [flip_interval(column, level=0.99) for column in table.T]
    assert np.transpose(found) == pytest.approx(np.array([list(one or ()) for one in singles]))
