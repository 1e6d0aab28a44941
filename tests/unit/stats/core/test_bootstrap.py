"""Percentile intervals of means."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from poolwise.stats.core.bootstrap import bca_interval, bootstrap_means, percentile_interval
from poolwise.stats.core.resampling import by_item, draw_swaps, draw_weights, generator, units_of


def interval(values: np.ndarray, group: Sequence[str] = ()) -> tuple[float, float]:
    """The 95% percentile interval of a mean."""
    means = bootstrap_means(values[:, None], units_of(group, len(values)), 10_000, generator(0, "bootstrap"))
    return percentile_interval(means[:, 0], 0.95)


def test_constant_values_have_a_point_for_an_interval() -> None:
    assert interval(np.full(20, 0.5)) == pytest.approx((0.5, 0.5))


def test_near_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = interval(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.006)


def test_groups_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=40), 10)
    names = [f"g{number // 10}" for number in range(400)]
    low, high = interval(values)
    group_low, group_high = interval(values, names)
    assert (group_high - group_low) / (high - low) == pytest.approx(np.sqrt(10), rel=0.15)


def test_percentiles_by_hand() -> None:
    assert percentile_interval(np.arange(101.0), 0.9) == pytest.approx((5.0, 95.0))


def test_weights_draw_whole_groups_and_as_many_as_there_are() -> None:
    draws = draw_weights(3, generator(0))
    assert np.array_equal(draws.sum(axis=1), np.full(64, 3))
    weights = by_item(draws, units_of(["a", "b", "a", "c"], 4))
    assert np.array_equal(weights[0], weights[2])
    assert np.array_equal(weights[[0, 1, 3]].sum(axis=0), np.full(64, 3.0))


def test_coins_are_fair_and_shared_in_a_group() -> None:
    draws = np.concatenate([draw_swaps(2, child) for child in generator(0).spawn(60)])
    coins = by_item(draws, units_of(["a", "b", "a"], 3))
    assert np.array_equal(coins[0], coins[2])
    assert coins.mean(axis=1) == pytest.approx([0.5, 0.5, 0.5], abs=0.03)


def test_groups_of_other_sizes_make_a_mean_not_a_sum() -> None:
    names = [f"g{min(number // 2, 11)}" for number in range(40)]
    assert interval(np.full(40, 0.5), names) == pytest.approx((0.5, 0.5))


def test_bca_moves_with_the_skew_and_is_the_percentile_interval_without() -> None:
    rng = np.random.default_rng(1)
    even = rng.normal(size=20_000)
    assert bca_interval(even, 0.0, np.array([-1.0, 1.0]), 0.95) == pytest.approx(
        percentile_interval(even, 0.95), abs=0.05
    )
    low, high = bca_interval(even, 0.0, np.array([-1.0, -1.0, -1.0, 3.0]), 0.95)
    assert low > percentile_interval(even, 0.95)[0] + 0.1
    assert high > percentile_interval(even, 0.95)[1] + 0.1


def test_bca_is_near_scipys() -> None:
    values = np.random.default_rng(3).exponential(size=60)
    expected = stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(0)).confidence_interval
    means = bootstrap_means(values[:, None], np.arange(60), 10_000, generator(0))[:, 0]
    ours = bca_interval(means, values.mean(), values - values.mean(), 0.95)
    assert ours == pytest.approx((expected.low, expected.high), abs=0.02)
