"""Tests that hold at every look: boundaries, bets, splits and user sums, against arithmetic and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from poolwise.stats.core import betting, confidence_sequence
from poolwise.stats.core.sample_ratio import CONCENTRATION, log_split_e_value
from poolwise.stats.core.user_means import difference, user_sums

ALPHA = st.floats(0.001, 0.4)


def test_the_boundary_is_that_of_the_paper() -> None:
    # The paper's form: t values of variance sigma^2, rho the parameter of the mixture.
    t, sigma, rho, alpha = 500.0, 2.5, 0.07, 0.05
    scale = 2 * (t * rho**2 + 1) / (t**2 * rho**2)
    paper = sigma * math.sqrt(scale * math.log(math.sqrt(t * rho**2 + 1) / alpha))
    ours = confidence_sequence.half_widths(np.array(t / sigma**2), 1 / (rho * sigma) ** 2, alpha)
    assert ours == pytest.approx(paper, rel=1e-12)


@given(st.floats(1e-3, 1e3), ALPHA)
def test_a_tuned_sequence_is_tightest_where_its_half_width_is_the_margin(margin: float, alpha: float) -> None:
    prior = confidence_sequence.tuned_prior(margin, alpha)
    needed = confidence_sequence.information_needed(margin, prior, alpha)
    at = np.array(needed)
    assert confidence_sequence.half_widths(at, prior, alpha) == pytest.approx(margin, rel=1e-6)
    for other in (0.8, 1.25):
        assert confidence_sequence.half_widths(at, other * prior, alpha) > margin * (1 + 1e-6)


@given(st.floats(-3, 3), st.floats(1e-2, 1e5), st.floats(0.01, 10), ALPHA)
def test_the_e_value_and_the_interval_agree(estimate: float, information: float, margin: float, alpha: float) -> None:
    prior = confidence_sequence.tuned_prior(margin, alpha)
    width = float(confidence_sequence.half_widths(np.array(information), prior, alpha))
    log_e = float(confidence_sequence.log_e_values(np.array(estimate), np.array(information), prior))
    if abs(abs(estimate) - width) > 1e-9 * width:
        assert (log_e >= -math.log(alpha)) == (abs(estimate) > width)


def test_widths_shrink_and_are_infinite_without_information() -> None:
    widths = confidence_sequence.half_widths(np.array([0.0, 1.0, 10.0, 1e3, 1e6]), 5.0, 0.05)
    assert np.isinf(widths[0]) and np.all(np.diff(widths) < 0)
    assert confidence_sequence.information_needed(0.0, 5.0, 0.05) == math.inf


@pytest.mark.parametrize(("margin", "alpha"), [(0.0, 0.05), (1.0, 0.0), (1.0, 1.0), (math.nan, 0.05)])
def test_impossible_tunings_are_refused(margin: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="margin must be positive"):
        confidence_sequence.tuned_prior(margin, alpha)


STAKES = betting.build_arm_stakes(0.0, 1.0, 0.2, 0.5, 0.05, binary=True)
VALUES = np.concatenate(betting.arm_values(np.array([0.0, 1.0]), 0.2, 0.5))
COUNTS = st.lists(st.integers(0, 400), min_size=4, max_size=4).map(lambda n: np.array(n, dtype=float))


def test_wealth_is_the_product_of_single_bets() -> None:
    rng = np.random.default_rng(0)
    stream = rng.choice(VALUES, 60)
    counts = np.array([(stream == value).sum() for value in VALUES], dtype=float)
    for mean in (-0.2, 0.0, 0.3):
        found = betting.log_wealths(VALUES, counts, mean, STAKES)
        for direction, sign, worst in ((0, 1, mean - STAKES.low), (1, -1, STAKES.high - mean)):
            wealth = 0.0
            for size, share in zip(STAKES.sizes, np.exp(STAKES.log_shares), strict=True):
                one = 0.5 * share
                for value in stream:
                    one *= 1 + sign * min(size, 0.75 / worst) * (value - mean)
                    assert one > 0
                wealth += one
            assert math.exp(found[direction]) == pytest.approx(wealth, rel=1e-9)


def test_no_bet_gains_on_average_under_the_null() -> None:
    # Exactly: the expected wealth after one value, over assignment and outcome, is what it was before.
    for rate in (0.05, 0.2, 0.7):
        chances = 0.5 * np.array([1 - rate, rate, 1 - rate, rate])
        for direction in (0, 1):
            after = [math.exp(betting.log_wealths(VALUES, row, 0.0, STAKES)[direction]) for row in np.eye(4)]
            assert chances @ after == pytest.approx(0.5, rel=1e-12)


@settings(deadline=None, max_examples=50)
@given(COUNTS, ALPHA)
def test_the_betting_interval_is_what_is_not_rejected(counts: np.ndarray, alpha: float) -> None:
    low, high = betting.betting_interval(VALUES, counts, STAKES, alpha)
    assert STAKES.low <= low and high <= STAKES.high
    target = -math.log(alpha)
    for mean in (low - 1e-6, high + 1e-6):
        if STAKES.low < mean < STAKES.high:
            assert betting.log_e_values(VALUES, counts, mean, STAKES) >= target - 1e-3
    middle = (low + high) / 2
    if low < middle < high:
        assert betting.log_e_values(VALUES, counts, middle, STAKES) < target + 1e-9


def test_without_values_everything_is_possible() -> None:
    assert betting.betting_interval(VALUES, np.zeros(4), STAKES, 0.05) == (STAKES.low, STAKES.high)


def test_the_split_e_value_is_a_ratio_of_probabilities() -> None:
    counts, shares = np.array([[60.0, 30.0, 10.0], [0.0, 0.0, 0.0]]), np.array([0.5, 0.3, 0.2])
    mixed = stats.dirichlet_multinomial.logpmf(counts[0].astype(int), CONCENTRATION * shares, 100)
    planned = stats.multinomial.logpmf(counts[0], 100, shares)
    assert log_split_e_value(counts, shares) == pytest.approx([mixed - planned, 0.0], abs=1e-9)


def sums(n: np.ndarray, d: np.ndarray, x: np.ndarray) -> np.ndarray:
    return user_sums(n, d, x).sum(axis=0)


@pytest.fixture
def arms() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(3)
    found = []
    for count in (90, 100):
        x = rng.normal(2, 1, count)
        d = rng.integers(1, 6, count).astype(float)
        found.append((d * 0.3 + x + rng.normal(size=count), d, x))
    return found


def test_a_mean_per_user_has_welchs_variance(arms: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    found = difference(*(sums(n, np.ones_like(n), x) for n, _, x in arms))
    test = stats.ttest_ind(arms[1][0], arms[0][0], equal_var=False)
    assert found.estimate / np.sqrt(found.variance) == pytest.approx(test.statistic, rel=1e-10)


def test_a_ratio_has_the_variance_of_the_delta_method(arms: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    found = difference(*(sums(*arm) for arm in arms))
    ratios, variance = [], 0.0
    for n, d, _ in arms:
        covariance = np.cov(n, d)
        gradient = np.array([1 / d.mean(), -n.mean() / d.mean() ** 2])
        ratios.append(n.sum() / d.sum())
        variance += gradient @ covariance @ gradient / len(n)
    assert found.estimate == pytest.approx(ratios[1] - ratios[0], rel=1e-12)
    assert found.variance == pytest.approx(variance, rel=1e-10)


def test_the_adjustment_is_the_regression_on_the_covariate(
    arms: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> None:
    ones = [np.ones(len(n)) for n, _, _ in arms]
    plain = difference(*(sums(n, one, x) for (n, _, x), one in zip(arms, ones, strict=True)))
    adjusted = difference(*(sums(n, one, x) for (n, _, x), one in zip(arms, ones, strict=True)), adjust=True)

    def variance_at(slope: float) -> float:
        return sum(np.var(n - slope * x, ddof=1) / len(n) for n, _, x in arms)

    from scipy.optimize import minimize_scalar

    best = minimize_scalar(variance_at)
    assert adjusted.variance == pytest.approx(best.fun, rel=1e-8) and adjusted.variance < 0.7 * plain.variance
    moved = best.x * (arms[1][2].mean() - arms[0][2].mean())
    assert adjusted.estimate == pytest.approx(plain.estimate - moved, rel=1e-6)
    same = difference(*(sums(n, one, 7 * one) for (n, _, _), one in zip(arms, ones, strict=True)), adjust=True)
    assert (same.estimate, same.variance) == pytest.approx((plain.estimate, plain.variance), rel=1e-9)


def test_a_small_arm_takes_at_least_the_variance_of_both() -> None:
    rng = np.random.default_rng(4)
    big, small = rng.normal(0, 3, 500), rng.normal(0, 1, 50)
    found = difference(*(sums(n, np.ones_like(n), np.zeros_like(n)) for n in (big, small)))
    both = (500 * big.var(ddof=1) + 50 * small.var(ddof=1)) / 550
    assert found.variance == pytest.approx(big.var(ddof=1) / 500 + both / 50, rel=1e-10)
    # A small arm with a larger variance keeps its own.
    turned = difference(*(sums(n, np.ones_like(n), np.zeros_like(n)) for n in (big / 10, small)))
    assert turned.variance == pytest.approx(big.var(ddof=1) / 500 / 100 + small.var(ddof=1) / 50, rel=1e-10)


@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_daily_looks_at_nothing_find_something_in_at_most_5_percent(shape: str) -> None:
    # 1,000 A/A experiments of 30 looks; a z test would find a difference in a quarter. All cases: benchmarks.
    rng = np.random.default_rng(5)
    arms = []
    for _ in range(2):
        values = rng.normal(size=(1000, 30, 40)) if shape == "normal" else rng.exponential(size=(1000, 30, 40))
        arms.append(user_sums(values, np.ones_like(values), np.zeros_like(values)).sum(axis=2).cumsum(axis=1))
    found = difference(*arms)
    prior = confidence_sequence.tuned_prior(0.15, 0.05)
    outside = np.abs(found.estimate) > confidence_sequence.half_widths(1 / found.variance, prior, 0.05)
    looked = outside[:, 4:].any(axis=1).sum()  # from 200 users on
    assert stats.binomtest(int(looked), 1000, 0.05, alternative="greater").pvalue > 0.001
    assert looked > 0
    z = np.abs(found.estimate) > 1.96 * np.sqrt(found.variance)
    assert z[:, 4:].any(axis=1).mean() > 0.15


def test_daily_bets_on_nothing_win_in_at_most_5_percent() -> None:
    rng = np.random.default_rng(6)
    treated = rng.random((1000, 30, 40)) < 0.5
    clicked = rng.random(treated.shape) < 0.2
    cells = [~treated & ~clicked, ~treated & clicked, treated & ~clicked, treated & clicked]
    counts = np.stack([cell.sum(axis=2) for cell in cells], axis=-1).cumsum(axis=1).astype(float)
    won = betting.log_e_values(VALUES, counts, 0.0, STAKES) >= -math.log(0.05)
    assert stats.binomtest(int(won.any(axis=1).sum()), 1000, 0.05, alternative="greater").pvalue > 0.001
    assert won.any()
