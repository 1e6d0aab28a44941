"""p and the least p of swapped ranks and flipped contributions against every arrangement written out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from poolwise.stats.core.resampling import generator
from poolwise.stats.core.signflip import Permutation
from poolwise.stats.designs.contrasts import Pair
from poolwise.stats.designs.item_tables import TaskTable
from poolwise.stats.designs.procedures import PROCEDURES

PAIR = Pair("a", "b", ())
NEAR = 1e-6


def swap_test(category: str, a: np.ndarray, b: np.ndarray, gold: np.ndarray, units: np.ndarray) -> Permutation:
    table = TaskTable("t", category, "t", units, gold, {"a": a[None], "b": b[None]}, {})
    return PROCEDURES[category].permute(table, [PAIR], 1000, generator(0)).tests[0]


def correlation(ranks: np.ndarray, gold: np.ndarray) -> float:
    return float(np.corrcoef(ranks, stats.rankdata(gold))[0, 1]) if ranks.std() > 0 else 0.0


def precision(ranks: np.ndarray, gold: np.ndarray) -> float:
    return float(average_precision_score(gold, ranks))


@pytest.mark.parametrize(("category", "metric"), [("sts", correlation), ("pair_classification", precision)])
@pytest.mark.parametrize("values", ["smooth", "tied", "identical", "separated", "three differ"])
@pytest.mark.parametrize("num_items", [2, 3, 6, 9])
@pytest.mark.parametrize("grouped", [False, True])
def test_every_swap(
    category: str, metric: Callable[[np.ndarray, np.ndarray], float], values: str, num_items: int, grouped: bool
) -> None:
    rng = np.random.default_rng(num_items)
    gold = rng.normal(size=num_items)
    if category == "pair_classification":
        gold = (gold >= np.median(gold)).astype(float)
    a, b = rng.normal(size=(2, num_items))
    if values == "tied":
        a, b = a.round(0), b.round(0)
    elif values == "identical":
        b = a.copy()
    elif values == "separated":
        a, b = gold.copy(), -gold
    elif values == "three differ":
        b = np.concatenate([a[:3][::-1], a[3:]])
    units = np.arange(num_items) // (1 + grouped)
    ranks = stats.rankdata(a), stats.rankdata(b)
    differences = []
    for coins in product([False, True], repeat=int(units.max()) + 1):
        swap = np.array(coins)[units]
        first, second = np.where(swap, ranks[1], ranks[0]), np.where(swap, ranks[0], ranks[1])
        differences.append(metric(first, gold) - metric(second, gold))
    sizes = np.abs(differences)
    test = swap_test(category, a, b, gold, units)
    assert test.is_exact
    assert test.p == pytest.approx(np.mean(sizes >= sizes[0] - NEAR))
    assert test.smallest_p == pytest.approx(np.mean(sizes >= sizes.max() - NEAR))


@pytest.mark.parametrize("category", ["sts", "pair_classification"])
def test_the_least_p_where_few_of_many_items_differ(category: str) -> None:
    rng = np.random.default_rng(0)
    a = np.arange(40.0)
    b = a.copy()
    b[[3, 20, 36]] = a[[20, 36, 3]]
    gold = (rng.random(40) < 0.5).astype(float) if category == "pair_classification" else rng.normal(size=40)
    test = swap_test(category, a, b, gold, np.arange(40))
    # Three items swap in eight ways, so no p is below two eighths; drawn at random, give or take.
    assert not test.is_exact
    assert test.p >= test.smallest_p >= 0.25 - 0.06
    same = swap_test(category, a, a, gold, np.arange(40))
    assert (same.p, same.smallest_p) == (1.0, 1.0)


def test_the_least_p_of_few_clustered_rows() -> None:
    assignments = {"a": np.array([[[0, 0, 1]]]), "b": np.array([[[0, 1, 0]]])}
    table = TaskTable("t", "clustering", "t", np.arange(3), np.array([0.0, 0.0, 1.0]), {}, assignments)
    (test,) = PROCEDURES["clustering"].permute(table, [PAIR], 1000, generator(0)).tests
    # Three signs have eight patterns, and a difference beyond them all counts as the outermost two.
    assert test.smallest_p == 0.25
    assert test.p >= 0.25
