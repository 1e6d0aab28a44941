"""Borda ranks: points by hand, intervals, and which models are separated."""

from __future__ import annotations

import numpy as np
import pytest

from poolwise.stats.core.borda import borda_points, borda_ranks, pair_p_values, rank_intervals, windows


def test_points_and_ranks_by_hand() -> None:
    scores = np.array([[0.5, 0.7, 0.6], [0.4, 0.4, 0.1]])
    points = borda_points(scores)
    assert points.tolist() == [[0, 2, 1], [1.5, 1.5, 0]]
    assert borda_ranks(points.sum(axis=0)).tolist() == [2, 1, 3]
    assert borda_ranks(np.array([3.0, 3.0, 1.0])).tolist() == [1, 1, 3]


def test_a_model_that_always_wins_has_an_interval_of_one_rank() -> None:
    rng = np.random.default_rng(0)
    scores = np.column_stack([np.ones(20), rng.random((20, 2))])
    intervals = rank_intervals(borda_points(scores), np.arange(20))
    assert intervals is not None
    assert intervals[0].tolist() == [1, 1]
    assert intervals[1].tolist() == intervals[2].tolist() == [2, 3]


def test_tasks_of_one_unit_are_drawn_together() -> None:
    rng = np.random.default_rng(1)
    points = borda_points(np.repeat(rng.random((12, 5)) + 0.05 * np.arange(5), 4, axis=0))
    alone, together = rank_intervals(points, np.arange(48)), rank_intervals(points, np.repeat(np.arange(12), 4))
    assert alone is not None and together is not None
    assert np.ptp(together, axis=1).sum() > np.ptp(alone, axis=1).sum()
    assert rank_intervals(points, np.repeat(np.arange(6), 8)) is None


def test_five_tasks_never_separate_and_six_do() -> None:
    scores = np.tile([0.1, 0.9], (6, 1))
    five, six = (pair_p_values(borda_points(scores[:n]), np.arange(n)) for n in (5, 6))
    assert five[0, 1] == pytest.approx(2 / 32)
    assert six[0, 1] == six[1, 0] == pytest.approx(2 / 64)
    assert six[0, 0] == 1


def test_equal_models_are_separated_in_at_most_five_of_a_hundred_families() -> None:
    rng = np.random.default_rng(2)
    found = [pair_p_values(borda_points(rng.random((20, 4))), np.arange(20)).min() <= 0.05 for _ in range(200)]
    assert 0 < sum(found) <= 20


def test_windows_are_the_largest_runs_without_a_separated_pair() -> None:
    separated = np.zeros((4, 4), bool)
    separated[0, 2] = separated[0, 3] = True
    assert windows(separated) == [(0, 1), (1, 3)]
    separated = np.zeros((4, 4), bool)
    separated[1, 2] = True
    assert windows(separated) == [(0, 1), (2, 3)]
    assert windows(np.ones((3, 3), bool)) == []
    assert windows(np.zeros((3, 3), bool)) == [(0, 2)]
