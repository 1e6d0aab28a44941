"""Rank metrics under weights and swaps against scipy and scikit-learn on the items written out."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from poolwise.stats.core.rank_metrics import (
    Ordering,
    Precision,
    column_dots,
    doubled_ranks,
    rank_columns,
    running_sum,
    weighted_average_precision,
    weighted_spearman,
)
from poolwise.stats.core.swaps import SwappedPrecision, rank_moments, swapped_correlations

ITEMS, RESAMPLES = 60, 8


@pytest.fixture(params=["smooth", "tied"])
def similarities(request: pytest.FixtureRequest) -> np.ndarray:
    values = np.random.default_rng(5).normal(size=(2, ITEMS))
    return values if request.param == "smooth" else values.round(0)


@pytest.fixture
def weights() -> np.ndarray:
    return np.random.default_rng(6).multinomial(ITEMS, np.full(ITEMS, 1 / ITEMS), size=RESAMPLES).T.astype(np.float32)


@pytest.fixture
def coins() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 2, (ITEMS, RESAMPLES)).astype(np.float32)


def test_weighted_spearman_equals_scipy_on_repeated_items(similarities: np.ndarray, weights: np.ndarray) -> None:
    gold = np.random.default_rng(8).integers(0, 6, ITEMS).astype(float)
    ours = weighted_spearman([Ordering(row) for row in similarities], Ordering(gold), weights)
    for resample in range(RESAMPLES):
        rows = np.repeat(np.arange(ITEMS), weights[:, resample].astype(int))
        expected = [stats.spearmanr(values[rows], gold[rows]).statistic for values in similarities]
        assert ours[resample] == pytest.approx(expected, abs=1e-6)


def test_weighted_average_precision_equals_sklearn_on_repeated_items(
    similarities: np.ndarray, weights: np.ndarray
) -> None:
    labels = np.random.default_rng(8).integers(0, 2, ITEMS).astype(float)
    ours = weighted_average_precision([Precision(row, labels) for row in similarities], weights)
    for resample in range(RESAMPLES):
        rows = np.repeat(np.arange(ITEMS), weights[:, resample].astype(int))
        expected = [average_precision_score(labels[rows], values[rows]) for values in similarities]
        assert ours[resample] == pytest.approx(expected, abs=1e-6)


def swapped(one: np.ndarray, two: np.ndarray, gold: np.ndarray, coins: np.ndarray) -> np.ndarray:
    first, second = rank_moments(one, gold), rank_moments(two, gold)
    moved = coins.T.astype(float) @ (second - first)
    difference = swapped_correlations(first.sum(axis=0), second.sum(axis=0), moved, ITEMS)
    return np.asarray(difference / np.sqrt(gold @ gold))


def test_swapped_correlations_equal_pearson_of_swapped_ranks(similarities: np.ndarray, coins: np.ndarray) -> None:
    gold = doubled_ranks(np.random.default_rng(8).normal(size=ITEMS))
    first, second = (doubled_ranks(row) for row in similarities)
    ours = swapped(first, second, gold, coins)
    for resample, coin in enumerate(coins.T.astype(bool)):
        one, two = np.where(coin, second, first), np.where(coin, first, second)
        expected = stats.pearsonr(one, gold).statistic - stats.pearsonr(two, gold).statistic
        assert ours[resample] == pytest.approx(expected, abs=1e-12)


def test_without_a_swap_it_is_the_difference_of_spearmans(similarities: np.ndarray) -> None:
    gold = np.random.default_rng(8).normal(size=ITEMS)
    ours = swapped(*(doubled_ranks(row) for row in (*similarities, gold)), np.zeros((ITEMS, 1)))
    expected = stats.spearmanr(similarities[0], gold).statistic - stats.spearmanr(similarities[1], gold).statistic
    assert ours == pytest.approx([expected], abs=1e-12)


def test_ranks_equal_scipys(similarities: np.ndarray) -> None:
    for values in similarities:
        centred = stats.rankdata(values) - (ITEMS + 1) / 2
        assert np.array_equal(doubled_ranks(values), 2 * centred)
        assert rank_columns(values) == pytest.approx(centred / ITEMS, abs=1e-15)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 24, 25, 26, 1000])
@pytest.mark.parametrize("columns", [1, 7])
def test_running_sums_equal_numpys(rows: int, columns: int) -> None:
    values = np.random.default_rng(rows).integers(0, 9, (rows, columns)).astype(np.float32)
    assert np.array_equal(running_sum(values.copy()), np.cumsum(values, axis=0))


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 1000])
def test_column_dots_equal_numpys_and_do_not_depend_on_their_neighbours(rows: int) -> None:
    first, second = np.random.default_rng(rows).normal(size=(2, rows, 64)).astype(np.float32)
    dots = column_dots(first, second)
    assert dots == pytest.approx((first.astype(float) * second).sum(axis=0), abs=1e-4)
    assert np.array_equal(dots[:16], column_dots(first[:, :16].copy(), second[:, :16].copy()))


def test_swapped_average_precisions_equal_sklearn(similarities: np.ndarray, coins: np.ndarray) -> None:
    labels = np.random.default_rng(8).integers(0, 2, ITEMS).astype(float)
    first, second = (doubled_ranks(row) for row in similarities)
    ours = SwappedPrecision(first, second, labels)(np.vstack([coins, np.ones((1, RESAMPLES), dtype=np.float32)]))
    for resample, coin in enumerate(coins.T.astype(bool)):
        one, two = np.where(coin, second, first), np.where(coin, first, second)
        expected = average_precision_score(labels, one) - average_precision_score(labels, two)
        assert ours[resample] == pytest.approx(expected, abs=1e-6)
