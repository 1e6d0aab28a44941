"""V-measure against scikit-learn, B-cubed against its definition."""

import numpy as np
import pytest
from sklearn.metrics import v_measure_score

from poolwise.stats.clusters import bcubed_contributions, bcubed_f1, weighted_v_measure

RNG = np.random.default_rng(9)
LABELS, CLUSTERS = RNG.integers(0, 5, 80), RNG.integers(0, 7, 80)
CLUSTERS[:40] = LABELS[:40]


@pytest.mark.parametrize(
    ("labels", "clusters"),
    [(LABELS, CLUSTERS), (LABELS, LABELS), (LABELS, np.zeros(80, int)), (np.zeros(80, int), CLUSTERS)],
)
def test_v_measure_equals_sklearn(labels: np.ndarray, clusters: np.ndarray) -> None:
    assert weighted_v_measure(labels, clusters, np.ones((80, 1), dtype=np.float32)) == pytest.approx(
        [v_measure_score(labels, clusters)], abs=1e-12
    )


def test_weighted_v_measure_equals_sklearn_on_repeated_rows() -> None:
    weights = RNG.multinomial(80, np.full(80, 1 / 80), size=6)
    ours = weighted_v_measure(LABELS, CLUSTERS, weights.T.astype(np.float32))
    for resample, counts in enumerate(weights):
        rows = np.repeat(np.arange(80), counts)
        assert ours[resample] == pytest.approx(v_measure_score(LABELS[rows], CLUSTERS[rows]), abs=1e-12)


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
