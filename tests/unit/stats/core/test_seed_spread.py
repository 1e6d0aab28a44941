"""Seed variances by hand."""

import numpy as np
import pytest

from poolwise.stats.core.resampling import generator
from poolwise.stats.core.seed_spread import SeedNoise, SeedTable, pigeonhole, satterthwaite


def table(**means: list[float]) -> SeedTable:
    return SeedTable({name: np.array(row) for name, row in means.items()}, {n: range(len(r)) for n, r in means.items()})


def test_what_all_share_at_a_seed_is_no_noise() -> None:
    shifted = table(a=[0.1, 0.3], b=[0.2, 0.4], c=[0.5, 0.7])
    assert shifted.pooled is not None
    assert shifted.pooled.std == pytest.approx(0.0, abs=1e-12)
    assert shifted.pooled.degrees == 2


def test_two_designs_pool_to_their_own_paired_variance() -> None:
    two = table(a=[0.1, 0.5], b=[0.2, 0.4])
    own = two.own("a", "b")
    # Differences -0.1 and 0.1: variance 0.02, of the mean of two 0.01.
    assert (own.std, own.degrees) == (pytest.approx(0.1), 1)
    noise = two.noise("a", "b")
    assert noise is not None
    assert (noise.std, noise.degrees) == (pytest.approx(0.1), 1)


def test_the_pooled_variance_counts_as_one_more_degree_of_freedom() -> None:
    quiet = {f"q{k}": [0.5, 0.5] for k in range(20)}
    mixed = table(a=[0.1, 0.5], b=[0.2, 0.4], **quiet)
    wild, calm = mixed.noise("a", "b"), mixed.noise("q0", "q1")
    assert mixed.pooled is not None
    # Their own variance is 0.01, of one degree of freedom; two runs' pooled variance, over two seeds, is that of a run.
    assert wild.std**2 == pytest.approx((0.01 + mixed.pooled.std**2) / 2)
    assert calm.std**2 == pytest.approx(mixed.pooled.std**2 / 2)
    assert wild.degrees == calm.degrees == 2


def test_entrants_in_which_nothing_was_trained_neither_move_nor_calm_the_others() -> None:
    rows = {"a": [0.1, 0.5], "b": [0.2, 0.4], "f": [0.3, 0.3], "g": [0.6, 0.6]}
    means, seeds = {name: np.array(row) for name, row in rows.items()}, dict.fromkeys(rows, (0, 1))
    counted = SeedTable(means, seeds)
    left_out = SeedTable(means, seeds, frozenset({"f", "g"}))
    alone = table(a=rows["a"], b=rows["b"])
    assert left_out.pooled == alone.pooled != counted.pooled
    assert left_out.noise("a", "b") == alone.noise("a", "b")
    against = left_out.noise("a", "f")
    # Only a moves: its variance is 0.08, pooled over a and b 0.05 (what they share counts too), of the mean half.
    assert (against.std**2, against.degrees) == (pytest.approx((0.04 + 0.025) / 2), 2)
    between = left_out.noise("f", "g")
    assert between.std == 0


def test_other_seeds_are_not_paired() -> None:
    apart = SeedTable({"a": np.array([0.1, 0.3]), "b": np.array([0.2, 0.4])}, {"a": [0, 1], "b": [2, 3]})
    assert apart.pooled is not None
    assert (apart.pooled.std, apart.pooled.degrees) == (pytest.approx(np.sqrt(0.02)), 2)
    own = apart.own("a", "b")
    assert (own.std, own.degrees) == (pytest.approx(np.sqrt(0.02)), pytest.approx(2))


def test_one_seed_has_no_noise_to_speak_of() -> None:
    assert table(a=[0.1], b=[0.2]).noise("a", "b").std == 0
    # Of the two, only b varies, by 0.005; b and c together by (0.005 + 0.045) / 2.
    assert table(a=[0.1], b=[0.2, 0.3], c=[0.1, 0.4]).noise("a", "b").std ** 2 == pytest.approx((0.0025 + 0.0125) / 2)


def test_satterthwaite_is_the_paired_t_test_without_items() -> None:
    # mean 0.2, standard error 0.1, one degree of freedom: p of t = 2.
    p, (low, high) = satterthwaite(0.2, 0.0, 100, SeedNoise(0.1, 1), 0.95)
    assert p == pytest.approx(0.29517, abs=1e-5)
    assert (low, high) == pytest.approx((0.2 - 1.27062, 0.2 + 1.27062), abs=1e-4)


def test_satterthwaite_is_the_items_t_test_without_seed_noise() -> None:
    p, _ = satterthwaite(0.2, 0.01, 10, SeedNoise(0.0, 1), 0.95)
    assert p == pytest.approx(0.07339, abs=1e-5)


def test_pigeonhole_draws_seeds_together() -> None:
    # Equal seeds: a - b is 0.1 at both, whatever is drawn; other seeds: it varies.
    runs = (np.tile([0.3, 0.9], (500, 1)), np.tile([0.2, 0.8], (500, 1)))
    assert pigeonhole(runs, ([0, 1], [0, 1]), generator(0)) == pytest.approx(np.full(500, 0.1))
    assert pigeonhole(runs, ([0, 1], [2, 3]), generator(0)).std() == pytest.approx(0.3, rel=0.1)
