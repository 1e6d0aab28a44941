"""What a planned study can find: against simulated studies, and in the cases where more of one thing cannot help."""

import numpy as np
import pytest

from poolwise.stats.core.noise import Noise
from poolwise.stats.core.seed_spread import SeedTable
from poolwise.stats.designs.study_size import (
    Family,
    Planned,
    Size,
    Variances,
    detectable_difference,
    independent_items,
    together,
    ways,
)
from poolwise.stats.designs.verdict import ALPHA

VARIANCES = Variances(item=0.13, seed=0.009)
FAMILY = Family(count=12, num_designs=4)


def planned(**changes: object) -> Planned:
    fields = {"category": "classification", "totals": (2000,) * 4, "max_items": 250, "seeds": 3}
    return Planned(**{**fields, "variances": VARIANCES, "family": FAMILY, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("items", "seeds"), [((250,) * 4, 3), pytest.param((1000,), 6, marks=pytest.mark.slow)])
def test_a_planned_study_finds_its_difference_in_80_of_100(items: tuple[int, ...], seeds: int) -> None:
    effect = detectable_difference(Size(items, seeds), VARIANCES, FAMILY)
    assert effect is not None
    rng = np.random.default_rng(5)
    error = 0.13 / independent_items(items) ** 0.5
    draws = rng.normal(0, error, 2000)
    found = []
    for _ in range(400):
        # A design's mean varies with half the variance of a difference; four designs share the seeds.
        runs = rng.normal(0, 0.009 / 2**0.5, (4, seeds))
        spread = SeedTable(dict(zip("abcd", runs, strict=True)), dict.fromkeys("abcd", range(seeds))).noise("a", "b")
        seen = effect + rng.normal(0, error) + runs[0].mean() - runs[1].mean()
        low, _ = Noise(draws, spread.std, spread.degrees).interval(seen, 1 - ALPHA / 12)
        found.append(low > 0)
    assert 0.74 <= np.mean(found) <= 0.86  # three standard errors of 400 repeats


def test_independent_items_of_unequal_tasks() -> None:
    assert independent_items([100, 100]) == 200
    assert independent_items([100, 300]) == pytest.approx(4 / (1 / 100 + 1 / 300))


@pytest.mark.parametrize("family", [Family(12, 1), Family(0, 4)])
def test_nothing_can_be_found_without_two_designs_or_tests(family: Family) -> None:
    assert detectable_difference(Size((250,), 3), VARIANCES, family) is None


def test_one_seed_can_find_nothing_and_two_can() -> None:
    assert planned(seeds=1).detectable() is None
    assert planned(seeds=2).detectable() is not None


def test_more_items_seeds_or_tasks_find_less_and_more_tests_find_more() -> None:
    now = planned().detectable()
    assert now is not None
    for change in ({"max_items": 500}, {"seeds": 4}, {"totals": (2000,) * 5}):
        assert (planned(**change).detectable() or 0) < now
    assert (planned(family=Family(40, 4)).detectable() or 0) > now


def test_a_study_with_looks_can_use_only_the_last_share() -> None:
    # Five of nine squared seeds are spent by the look after two of three.
    assert Family(12, 4, has_looks=True).alpha(3) == pytest.approx(0.05 / 12 * 5 / 9)
    assert Family(12, 4).alpha(3) == pytest.approx(0.05 / 12)
    looks, one = planned(family=Family(12, 4, has_looks=True)).detectable(), planned(family=Family(12, 4)).detectable()
    assert looks is not None and one is not None and looks > one
    by_seeds = [detectable_difference(Size((250,), n), VARIANCES, Family(12, 4, has_looks=True)) for n in range(2, 9)]
    assert by_seeds == sorted(by_seeds, key=lambda found: -(found or 0))


def test_ways_find_the_effect_and_one_less_does_not() -> None:
    one, effect = planned(), 0.02
    found = ways(one, effect, lambda size, _: float(size.seeds * sum(size.items)))
    assert found == sorted(found, key=lambda way: way.times)
    assert {"seeds", "items and seeds"} <= {way.change for way in found}
    seeds = next(way.size.seeds for way in found if way.change == "seeds")
    assert one.finds(effect, Size(one.size.items, seeds)) and not one.finds(effect, Size(one.size.items, seeds - 1))
    assert all(way.detectable <= effect for way in found)


def test_items_are_planned_to_two_in_a_hundred() -> None:
    one, effect = planned(variances=Variances(0.13, 0.001)), 0.012
    cap = one.least_items(effect, 3)
    assert cap is not None and one.finds(effect, Size((cap,) * 4, 3))
    assert not one.finds(effect, Size((round(cap * 0.97),) * 4, 3))


def test_more_items_cannot_replace_seeds() -> None:
    one = planned(totals=(10**6,) * 4, variances=Variances(0.13, 0.02))
    found = ways(one, 0.015, lambda size, _: float(size.seeds))
    assert "items" not in {way.change for way in found} and "tasks" not in {way.change for way in found}


def test_ways_are_empty_if_the_plan_suffices_or_nothing_does() -> None:
    assert ways(planned(), 0.5, lambda *_: 1.0) == []
    assert ways(planned(totals=(60,)), 0.001, lambda *_: 1.0) == []


def test_the_change_for_all_categories_suffices_for_each() -> None:
    both = [planned(), planned(category="retrieval", variances=Variances(0.2, 0.01))]
    found = together(both, 0.02, lambda seeds, cap: float(seeds * (cap or 2000)))
    assert found is not None
    seeds, cap, _ = found
    assert all(one.finds(0.02, Size(one.capped(cap), seeds)) for one in both)
    assert together([*both, planned(totals=(50,))], 0.002, lambda *_: 1.0) is None
