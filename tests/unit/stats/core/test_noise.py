"""Item noise plus a t-distributed seed effect, where the answer is known."""

import numpy as np
import pytest
from scipy.special import betaincinv

from poolwise.stats.core.noise import Noise, unseen_draws
from poolwise.stats.core.resampling import generator

NORMAL = np.random.default_rng(0).normal(size=20_000)
NOTHING = np.zeros(5_000)


def test_without_a_seed_effect_it_counts_the_draws() -> None:
    assert Noise(np.array([-2.0, -1.0, 1.0, 2.0]), 0.0, 1).p(2.0, 1.0) == 3 / 5


def test_without_items_it_is_the_t_test() -> None:
    noise = Noise(NOTHING, 0.1, 1)
    # t = 2 with one degree of freedom: p 0.29517; one arrangement is added to 5,000.
    assert noise.p(0.2, 1.0) == pytest.approx((0.29517 * 5000 + 1) / 5001, abs=1e-5)
    # 12.706 is the 97.5% quantile.
    assert noise.interval(0.2, 0.95) == pytest.approx((0.2 - 1.27062, 0.2 + 1.27062), abs=1e-4)


def test_two_normal_parts_add_their_variances() -> None:
    # A thousand degrees of freedom are nearly normal: 3-4-5.
    low, high = Noise(3 * NORMAL, 4.0, 1000).interval(0.0, 0.95)
    assert (low, high) == pytest.approx((-9.8, 9.8), abs=0.15)


def test_compressed_draws_give_the_quantiles_of_all() -> None:
    noise = Noise(NORMAL, 1e-6, 5)
    for probability, allowed in ((0.0005, 0.02), (0.025, 0.008), (0.5, 0.003), (0.9995, 0.02)):
        assert noise.quantile(probability) == pytest.approx(np.quantile(NORMAL, probability), abs=allowed)


def test_p_and_interval_agree() -> None:
    noise = Noise(NORMAL, 0.7, 3)
    _, high = noise.interval(0.0, 0.95)
    assert noise.p(high, 1.0) == pytest.approx(0.05, abs=0.003)


def test_what_was_not_seen_is_bounded_exactly() -> None:
    # Of 10 items none differs: at 2.5% on each side, up to 1 - 0.025^(1/10) of all may.
    unseen = unseen_draws(10, 1, 1.0, 200_000, generator(0))
    low, high = Noise(np.zeros(200_000), 0.0, 1, unseen).interval(0.0, 0.95)
    assert (low, high) == (pytest.approx(-(1 - 0.025**0.1), rel=0.02), pytest.approx(1 - 0.025**0.1, rel=0.02))
    # With several tasks only one of them hides it.
    assert unseen_draws(10, 4, 1.0, 1000, generator(0)) == pytest.approx(
        unseen_draws(10, 1, 1.0, 1000, generator(0)) / 4
    )


def test_with_differences_it_is_close_to_clopper_and_pearson() -> None:
    n, k = 200, 4
    draws = generator(1).binomial(n, k / n, 200_000) / n - k / n
    _, high = Noise(draws, 0.0, 1, unseen_draws(n, 1, 1.0, 200_000, generator(2))).interval(k / n, 0.95)
    assert high == pytest.approx(betaincinv(k + 1, n - k, 0.975), rel=0.05)
