"""Rank metrics under weights and swaps against scipy and scikit-learn on the items written out."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from poolwise.stats.ranking import (
    Ordering,
    Precision,
    rank_columns,
    swapped_average_precisions,
    swapped_correlations,
    weighted_average_precision,
    weighted_spearman,
)

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


def test_swapped_correlations_equal_pearson_of_swapped_ranks(similarities: np.ndarray, coins: np.ndarray) -> None:
    gold = rank_columns(np.random.default_rng(8).normal(size=ITEMS))
    first, second = (rank_columns(row) for row in similarities)
    ours = swapped_correlations(first, second, gold, coins)
    for resample, coin in enumerate(coins.T.astype(bool)):
        one, two = np.where(coin, second, first), np.where(coin, first, second)
        expected = stats.pearsonr(one, gold).statistic - stats.pearsonr(two, gold).statistic
        assert ours[resample] == pytest.approx(expected, abs=1e-6)


def test_without_a_swap_it_is_the_difference_of_spearmans(similarities: np.ndarray) -> None:
    gold = np.random.default_rng(8).normal(size=ITEMS)
    ours = swapped_correlations(
        rank_columns(similarities[0]),
        rank_columns(similarities[1]),
        rank_columns(gold),
        np.zeros((ITEMS, 1), dtype=np.float32),
    )
    expected = stats.spearmanr(similarities[0], gold).statistic - stats.spearmanr(similarities[1], gold).statistic
    assert ours == pytest.approx([expected], abs=1e-6)


def test_swapped_average_precisions_equal_sklearn(similarities: np.ndarray, coins: np.ndarray) -> None:
    labels = np.random.default_rng(8).integers(0, 2, ITEMS).astype(float)
    first, second = (rank_columns(row) for row in similarities)
    ours = swapped_average_precisions(first, second, labels, coins)
    for resample, coin in enumerate(coins.T.astype(bool)):
        one, two = np.where(coin, second, first), np.where(coin, first, second)
        expected = average_precision_score(labels, one) - average_precision_score(labels, two)
        assert ours[resample] == pytest.approx(expected, abs=1e-6)
