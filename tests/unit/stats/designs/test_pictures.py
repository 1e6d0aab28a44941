"""Friedman, critical differences, the Bayesian test and power, on small tables."""

import numpy as np
import pytest
from scipy.stats import nct

from poolwise.results import Contrast, Power
from poolwise.stats.core.bayes import signed_rank_posterior
from poolwise.stats.core.noise import Noise
from poolwise.stats.core.resampling import generator
from poolwise.stats.core.seed_spread import SeedNoise
from poolwise.stats.core.wilcoxon import signed_rank_test
from poolwise.stats.designs.friedman import cliques, rank_picture
from poolwise.stats.designs.power import (
    signed_rank_reach,
    suite_detectable,
    suite_power,
    task_detectable,
    task_power,
    tasks_needed,
    variance_share,
)
from poolwise.stats.designs.suite import Finding

STEPS = [np.array([0.5, 0.6, 0.4, 0.5, 0.7]) + 0.1 * k for k in range(3)]


def test_a_picture_needs_five_tasks_and_three_models() -> None:
    assert rank_picture("sts", "abc", [row[:4] for row in STEPS], generator(0)) is None
    assert rank_picture("sts", "ab", STEPS[:2], generator(0)) is None


def test_always_in_the_same_order() -> None:
    picture = rank_picture("sts", "abc", STEPS, generator(0))
    assert picture is not None
    assert (picture.names, picture.mean_ranks) == (["c", "b", "a"], [1.0, 2.0, 3.0])
    # All five tasks agree with one another in 6 * 6^-5 of the cases: 0.0008.
    assert picture.p == pytest.approx(6**-4, abs=0.0012)
    # Demsar's table: q = 2.343 for three models; times sqrt(3 * 4 / (6 * 5)).
    assert picture.critical_difference == pytest.approx(2.343 * np.sqrt(0.4), abs=0.002)
    assert picture.groups == [["c", "b"], ["b", "a"]]


def test_all_tied() -> None:
    picture = rank_picture("sts", "abc", [np.full(5, 0.5)] * 3, generator(0))
    assert picture is not None
    assert picture.p == 1.0


def test_cliques_leave_out_what_a_longer_one_holds() -> None:
    assert cliques(list("abcd"), [1.0, 1.5, 2.0, 4.0], 1.0) == [["a", "b", "c"]]
    assert cliques(list("ab"), [1.0, 3.0], 1.0) == []


def test_posterior_by_hand() -> None:
    # All tasks far on one side: only draws in which the prior's pseudo-task has most weight favour equality.
    a_better, equal, b_better = signed_rank_posterior([0.1] * 10, 0.005, generator(0))
    assert a_better > 0.99
    assert b_better == 0.0
    assert a_better + equal + b_better == pytest.approx(1.0)
    assert signed_rank_posterior([0.001, -0.001, 0.0], 0.005, generator(0)) == (0.0, 1.0, 0.0)
    mirrored = signed_rank_posterior([0.1, -0.1, 0.2, -0.2], 0.0, generator(0))
    assert mirrored[0] == pytest.approx(mirrored[2], abs=0.03)


def contrast(half: float) -> Contrast:
    return Contrast(
        category="sts",
        a="a",
        b="b",
        difference=0.0,
        test="t",
        estimand="designs_on_tasks",
        simultaneous=(-half, half),
        smallest_p=1e-4,
        num_seeds=2,
    )


def finding(item: float, seed: float, half: float) -> Finding:
    draws = np.array([-item, item] * 50)
    return Finding(contrast(half), np.array([0.1, -0.1, 0.0]), Noise(draws, seed, 7), SeedNoise(seed, 7))


def power_of(found: Finding) -> Power:
    assert found.contrast.simultaneous is not None
    detectable = suite_detectable(found, found.contrast.simultaneous)
    return suite_power(found, found.contrast, detectable, 1, 0.005)


def over_tasks(differences: np.ndarray, effect: float = 0.005) -> Power:
    return task_power(contrast(0.1), differences, task_detectable(differences, 1), 1, effect)


def test_shares_by_hand() -> None:
    share = variance_share(finding(0.03, 0.04, 0.1))
    # Task variance: 0.01 / 3 less the items' 0.0009.
    task = 0.01 / 3 - 0.0009
    total = 0.0009 + 0.0016 + task
    assert share.shares == pytest.approx({"item": 0.0009 / total, "seed": 0.0016 / total, "task": task / total})


def test_detectable_is_what_a_t_test_of_that_threshold_finds_at_80_percent() -> None:
    power = power_of(finding(0.003, 0.004, 0.02))
    assert power.detectable is not None
    # The error is 0.005, its degrees of freedom 7 * 0.005^4 / 0.004^4, the threshold four errors.
    assert nct.sf(4, 7 * (5 / 4) ** 4, power.detectable / 0.005) == pytest.approx(0.8, abs=1e-3)
    certain = power_of(finding(0.005, 0.0, 0.02))
    # 0.84 is the normal quantile of 80%.
    assert certain.detectable == pytest.approx(0.02 + 0.8416 * 0.005, abs=1e-5)
    # The seeds alone are too noisy for 0.005, whatever the items.
    assert power.items_factor is None
    assert power.seeds_needed is None or power.seeds_needed > 2


def test_more_items_or_seeds_where_they_help() -> None:
    items = power_of(finding(0.01, 0.0001, 0.02))
    assert items.items_factor is not None
    assert items.items_factor > 4
    assert items.seeds_needed is None
    seeds = power_of(finding(0.0001, 0.003, 0.01))
    assert seeds.seeds_needed is not None
    assert seeds.seeds_needed > 2
    enough = power_of(finding(0.0001, 0.0001, 0.0003))
    assert (enough.items_factor, enough.seeds_needed) == (1.0, 2)


def test_tasks_have_a_floor() -> None:
    # 2^(1 - n) <= 0.05 needs six tasks, 0.05 / 8 needs nine.
    assert tasks_needed(np.array([0.01, 0.0100001]), 1, 1.0) == 6
    assert tasks_needed(np.array([0.01, 0.0100001]), 8, 1.0) == 9
    assert tasks_needed(np.array([0.01]), 1, 1.0) is None
    few = over_tasks(np.array([0.1, 0.2, 0.3]))
    assert few.detectable is None
    assert few.sentence.startswith("Too few tasks for significance: at least 6 needed, 3 given")
    many = over_tasks(np.linspace(-0.1, 0.1, 20))
    assert many.detectable == pytest.approx(np.linspace(-0.1, 0.1, 20).std(ddof=1) * signed_rank_reach(20, 0.95))
    assert over_tasks(np.linspace(-0.1, 0.1, 20), 0.0).tasks_needed is None


@pytest.mark.parametrize(("count", "num_family"), [(6, 1), (11, 4), (20, 10)])
def test_the_signed_ranks_find_what_they_are_said_to_find(count: int, num_family: int) -> None:
    level = 0.05 / num_family
    samples = np.random.default_rng(1).normal(signed_rank_reach(count, 1 - level), 1.0, (600, count))
    found = np.mean([signed_rank_test(row).p <= level for row in samples])
    # Three standard errors of a rate of 0.8 in 600 repeats are 0.049.
    assert found == pytest.approx(0.8, abs=0.049)


def test_the_reach_of_the_signed_ranks_by_hand() -> None:
    # Six tasks reject only if all agree: the sixth root of 0.8 is 0.9635, the normal quantile of which is 1.793.
    assert signed_rank_reach(6, 0.95) == pytest.approx(1.793, abs=0.04)
    assert signed_rank_reach(5, 0.95) == np.inf
    # From 50 simulated tasks to 51 by the formula for many there is no jump.
    assert signed_rank_reach(50, 0.95) / signed_rank_reach(51, 0.95) == pytest.approx((51 / 50) ** 0.5, rel=0.05)


def test_more_tasks_than_needed_are_not_asked_for() -> None:
    differences = np.array([0.01, 0.02, -0.01, 0.03])
    needed = tasks_needed(differences, 8, 0.02)
    assert needed is not None
    spread, level = differences.std(ddof=1), 1 - 0.05 / 8
    assert signed_rank_reach(needed, level) * spread <= 0.02 < signed_rank_reach(needed - 1, level) * spread
