"""V-measure against scikit-learn, B-cubed against its definition."""

import numpy as np
import pytest
from sklearn.metrics import v_measure_score

from poolwise.stats.clusters import Partitions, bcubed_contributions, bcubed_f1

RNG = np.random.default_rng(9)
LABELS, CLUSTERS = RNG.integers(0, 5, 80), RNG.integers(0, 7, 80)
CLUSTERS[:40] = LABELS[:40]


@pytest.mark.parametrize(
    ("labels", "clusters"),
    [(LABELS, CLUSTERS), (LABELS, LABELS), (LABELS, np.zeros(80, int)), (np.zeros(80, int), CLUSTERS)],
)
def test_v_measure_equals_sklearn(labels: np.ndarray, clusters: np.ndarray) -> None:
    once = np.ones((1, 80), dtype=np.uint8)
    found = Partitions(labels, clusters[None], np.arange(80)).v_measures(once)
    assert found[0] == pytest.approx([v_measure_score(labels, clusters)], abs=1e-12)


def test_weighted_v_measure_equals_sklearn_on_repeated_rows() -> None:
    """Three assignments at once, two of them sharing clusters; items in units of two and of one."""
    units = np.concatenate([np.arange(40) // 2, np.arange(20, 60)])
    assignments = np.array([CLUSTERS, np.where(CLUSTERS == 3, 2, CLUSTERS), RNG.integers(0, 3, 80)])
    weights = RNG.multinomial(60, np.full(60, 1 / 60), size=6).astype(np.uint8)
    ours = Partitions(LABELS, assignments, units).v_measures(weights)
    for resample, counts in enumerate(weights):
        rows = np.repeat(np.arange(80), counts[units])
        expected = [v_measure_score(LABELS[rows], clusters[rows]) for clusters in assignments]
        assert ours[resample] == pytest.approx(expected, abs=1e-12)


def test_equal_sets_are_weighed_once() -> None:
    both = Partitions(LABELS, np.array([CLUSTERS, (CLUSTERS + 1) % 7]), np.arange(80))
    assert both.num_sets == Partitions(LABELS, CLUSTERS[None], np.arange(80)).num_sets


def test_bcubed_equals_its_definition() -> None:
    for item, ours in enumerate(bcubed_f1(LABELS, CLUSTERS)):
        mates, kin = CLUSTERS[item] == CLUSTERS, LABELS[item] == LABELS
        precision, recall = (mates & kin).sum() / mates.sum(), (mates & kin).sum() / kin.sum()
        assert ours == pytest.approx(2 * precision * recall / (precision + recall))


def test_contributions_are_the_derivative_of_the_mean_in_an_items_weight() -> None:
    def total(labels: np.ndarray, clusters: np.ndarray, weights: np.ndarray) -> float:
        """The sum of B-cubed F1 over weighted items, from its definition."""
        both = [[weights[(labels == r) & (clusters == k)].sum() for k in range(7)] for r in range(5)]
        table = np.array(both)
        sizes = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True)
        return float((2 * table**2 / sizes).sum())

    ours = bcubed_contributions(LABELS, CLUSTERS)
    assert ours.mean() == pytest.approx(bcubed_f1(LABELS, CLUSTERS).mean())
    for item in range(0, 80, 9):
        step = np.where(np.arange(80) == item, 1e-5, 0.0)
        slope = (total(LABELS, CLUSTERS, 1 + step) - total(LABELS, CLUSTERS, 1 - step)) / 2e-5
        assert ours[item] == pytest.approx(slope, abs=1e-6)
