"""The suite's test keeps its level and its intervals cover, in small seeded simulations of whole studies."""

from __future__ import annotations

import numpy as np
import pytest

from poolwise.records import Run
from poolwise.results import Comparison
from poolwise.stats import compare_runs
from unit.stats.designs.builders import run, values

DESIGNS = ("last+causal", "mean+causal", "weighted_mean+causal", "layer_mean+causal")
REPEATS = 100


def study(rng: np.random.Generator, effects: tuple[float, ...], seed_std: float, skew: bool = False) -> list[Run]:
    """Return designs x 2 seeds x 2 tasks of 40 items; seeds shift a design on all tasks."""
    runs = []
    for design, effect in zip(DESIGNS, effects, strict=False):
        liking = 0.05 * (rng.exponential(size=(2, 40)) - 1 if skew else rng.normal(size=(2, 40)))
        for seed in (0, 1):
            rows = 0.5 + effect + liking + rng.normal(0, seed_std) + rng.normal(0, 0.03, (2, 40))
            runs.append(run(design, [values(f"t{t}", row) for t, row in enumerate(rows)], seed=seed))
    return runs


def compare(runs: list[Run]) -> Comparison:
    return compare_runs(runs, reference=DESIGNS[0], num_resamples=400, comparisons=["reference"])


@pytest.mark.parametrize("seed_std", [*(pytest.param(std, marks=pytest.mark.slow) for std in (0.0, 0.01)), 0.05])
def test_nothing_is_found_where_nothing_is(seed_std: float) -> None:
    """Two designs that are one (A/A), and the family of four: at most 5% of studies find anything."""
    rng = np.random.default_rng(11)
    raw, family = [], []
    for _ in range(REPEATS):
        result = compare(study(rng, (0.0,) * 4, seed_std))
        raw += [contrast.p <= 0.05 for contrast in result.contrasts if contrast.p is not None]
        family.append(any(contrast.verdict in ("better", "worse") for contrast in result.contrasts))
    # Two standard errors of 5% in 100 repeats; the contrasts of one study share their reference.
    assert np.mean(raw) <= 0.05 + 0.044
    assert np.mean(family) <= 0.05 + 0.044


def test_one_design_under_two_names_with_other_seeds_gets_no_verdict() -> None:
    """A/A: what the design likes is the same under both names; only the seeds differ, and shift all tasks."""
    rng = np.random.default_rng(15)
    decided = []
    for _ in range(REPEATS):
        liking = 0.5 + 0.05 * rng.normal(size=(2, 40))
        runs = []
        for seed in range(4):
            rows = liking + rng.normal(0, 0.02) + rng.normal(0, 0.03, (2, 40))
            runs.append(run(DESIGNS[seed // 2], [values(f"t{t}", row) for t, row in enumerate(rows)], seed=seed))
        decided += [contrast.verdict in ("better", "worse") for contrast in compare(runs).contrasts]
    assert len(decided) == REPEATS
    assert np.mean(decided) <= 0.05 + 0.044


def test_holm_verdicts_by_rank_keep_the_family_rate() -> None:
    rng = np.random.default_rng(12)
    found = [
        any(
            contrast.p_holm is not None and contrast.p_holm <= 0.05
            for contrast in compare(study(rng, (0.0,) * 4, 0.02)).contrasts
        )
        for _ in range(REPEATS)
    ]
    assert np.mean(found) <= 0.05 + 0.044


@pytest.mark.parametrize("skew", [pytest.param(False, marks=pytest.mark.slow), True])
def test_intervals_cover_a_known_effect(skew: bool) -> None:
    """At least 95%, less two standard errors; the simultaneous ones all at once."""
    rng = np.random.default_rng(13)
    effects = (0.0, 0.02, 0.04, -0.03)
    single, together = [], []
    for _ in range(REPEATS):
        contrasts = compare(study(rng, effects, 0.02, skew)).contrasts
        truth = dict(zip(DESIGNS, effects, strict=True))
        inside = [c.interval[0] <= truth[c.a] <= c.interval[1] for c in contrasts if c.interval]
        single += inside
        wide = [c.simultaneous[0] <= truth[c.a] <= c.simultaneous[1] for c in contrasts if c.simultaneous]
        together.append(all(wide))
    assert np.mean(single) >= 0.95 - 0.044
    assert np.mean(together) >= 0.95 - 0.044


def test_a_clear_effect_is_found() -> None:
    rng = np.random.default_rng(14)
    found = [compare(study(rng, (0.0, 0.2), 0.005)).contrasts[0].verdict == "better" for _ in range(20)]
    assert np.mean(found) >= 0.8
