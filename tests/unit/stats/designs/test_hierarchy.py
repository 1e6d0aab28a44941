"""The hierarchical view: intervals with the seed part, standardised differences, and where there is none."""

import numpy as np
import pytest
from scipy.special import stdtrit

from poolwise.records import Run
from poolwise.report.hierarchy import hierarchy_table
from poolwise.stats import compare_runs
from poolwise.stats.core.seed_spread import SeedNoise
from poolwise.stats.designs.contrasts import Pair
from poolwise.stats.designs.hierarchy import hierarchy, standardised
from unit.stats.designs.builders import run, score_runs, values

PAIR = Pair("a", "b", ())
TASKS = ["t0", "t1", "t2"]
DIFFERENCES = np.array([0.0, 0.3, 0.6])


def test_interval_and_prediction_without_a_seed_part_are_textbook() -> None:
    (found,) = hierarchy("sts", PAIR, TASKS, DIFFERENCES, [0.01] * 3, SeedNoise(0.0, 1))
    error = np.sqrt(0.09 / 3)
    assert found.mean == pytest.approx(0.3) and found.between_std == pytest.approx(np.sqrt(0.08))
    assert found.interval[1] - 0.3 == pytest.approx(stdtrit(2, 0.975) * error)
    assert found.new_task[1] - 0.3 == pytest.approx(stdtrit(1, 0.975) * np.sqrt(0.08 + 0.03))


def test_the_seed_part_widens_the_interval_that_all_tasks_share() -> None:
    (without,) = hierarchy("sts", PAIR, TASKS, DIFFERENCES / 100, [0.01] * 3, SeedNoise(0.0, 1))
    (with_seeds,) = hierarchy("sts", PAIR, TASKS, DIFFERENCES / 100, [0.01] * 3, SeedNoise(0.2, 2))
    assert with_seeds.interval[1] > without.interval[1] and with_seeds.mean == without.mean


def test_two_tasks_have_no_hierarchy() -> None:
    assert hierarchy("sts", PAIR, TASKS[:2], DIFFERENCES[:2], [0.01] * 2, SeedNoise(0.0, 1)) == []


def test_one_noisy_task_does_not_rule_the_standardised_difference() -> None:
    differences, spread = np.array([0.02, 0.02, -0.2]), np.array([0.01, 0.01, 0.4])
    assert differences.mean() < 0
    assert standardised(differences, spread) == pytest.approx((2 + 2 - 0.5) / 3)
    assert standardised(differences, np.array([0.01, 0.01, 0.0])) == pytest.approx(4 / 3)
    assert standardised(differences, np.zeros(3)) is None and standardised(differences, None) is None


def item_runs() -> list[Run]:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.7, (4, 60))
    return [
        run(
            name, [values(f"t{t}", row + effect * t + rng.normal(0, 0.02, 60)) for t, row in enumerate(base)], seed=seed
        )
        for name, effect in (("last+causal", 0.0), ("mean+causal", 0.02), ("weighted_mean+causal", 0.01))
        for seed in (0, 1)
    ]


def test_a_comparison_has_a_hierarchy_for_each_contrast_with_items() -> None:
    found = compare_runs(item_runs(), reference="last+causal", num_resamples=400)
    assert [(one.a, one.b) for one in found.hierarchies] == [(c.a, c.b) for c in found.contrasts]
    one = found.hierarchies[0]
    assert one.tasks == [f"retrieval/t{t}" for t in range(4)]
    assert one.differences == pytest.approx([0, 0.02, 0.04, 0.06], abs=0.01)
    # The items tell these tasks apart, so little is shrunken.
    assert one.shrunken == pytest.approx(one.differences, abs=0.004)
    assert one.interval[0] < one.mean < one.interval[1]
    table = hierarchy_table(found.hierarchies, found.contrasts)
    assert table is not None and table.csv is not None
    assert len(table.rows) == 3 and len(table.csv.rows) == 12
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_scores_without_items_have_standardised_differences_only() -> None:
    rows = {"x": [0.5, 0.6, 0.7], "y": [0.4, 0.5, 0.2], "z": [0.3, 0.4, 0.6]}
    found = compare_runs(score_runs(rows, kind="external"), num_resamples=400)
    assert found.hierarchies == [] and hierarchy_table([], found.contrasts) is None
    sd = np.std([[0.5, 0.6, 0.7], [0.4, 0.5, 0.2], [0.3, 0.4, 0.6]], axis=0, ddof=1)
    by_pair = {frozenset((c.a, c.b)): c for c in found.contrasts}
    xy = by_pair[frozenset("xy")]
    assert abs(xy.standardised or 0) == pytest.approx(float((np.array([0.1, 0.1, 0.5]) / sd).mean()))


def test_two_models_have_no_standardised_difference() -> None:
    found = compare_runs(score_runs({"x": [0.5, 0.6], "y": [0.4, 0.5]}, kind="external"), num_resamples=400)
    assert found.contrasts[0].standardised is None
