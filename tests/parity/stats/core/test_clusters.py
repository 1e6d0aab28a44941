"""V-measure against scikit-learn, B-cubed against its definition."""

import numpy as np
import pytest
from sklearn.metrics import v_measure_score

from poolwise.stats.core.clusters import Partitions, bcubed_contributions, bcubed_f1

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


def test_contributions_are_what_is_missing_without_the_item() -> None:
    ours, total = bcubed_contributions(LABELS, CLUSTERS), bcubed_f1(LABELS, CLUSTERS).sum()
    for item in range(80):
        rest = bcubed_f1(np.delete(LABELS, item), np.delete(CLUSTERS, item)).sum()
        assert ours[item] == pytest.approx(total - rest, abs=1e-9)
    alone = np.zeros(1, dtype=np.int64)
    assert bcubed_contributions(alone, alone) == pytest.approx([1.0])


@pytest.mark.parametrize(("items", "labels"), [(20, 5), (60, 20), (200, 60)])
def test_contributions_carry_the_variance_of_the_mean_where_labels_are_small(items: int, labels: int) -> None:
    """Over experiments without a difference: not below it, as the derivative is by a third, and not far above."""
    rng = np.random.default_rng(items)
    totals, squares = [], []
    for _ in range(400):
        gold = np.unique(rng.integers(0, labels, items), return_inverse=True)[1]
        rows = np.where(rng.random((2, items)) < 0.7, gold, rng.integers(0, labels + 1, (2, items)))
        one, two = (bcubed_contributions(gold, row) for row in rows)
        totals.append(np.subtract(*(bcubed_f1(gold, row).sum() for row in rows)))
        squares.append(((one - two) ** 2).sum())
    assert 0.6 < np.var(totals) / np.mean(squares) < 1.15
