"""Laws of every test of the package: p in (0, 1], antisymmetry, no order, no luck, level kept under the null."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolwise.records import CATEGORIES, Category, ItemScores, Run
from poolwise.results import Comparison, Contrast
from poolwise.stats import compare_runs
from poolwise.stats.core.multiplicity import benjamini_hochberg, benjamini_yekutieli, tarone_holm
from poolwise.stats.core.signflip import signflip_test
from poolwise.stats.core.wilcoxon import signed_rank_test, smallest_attainable_p
from unit.stats.designs.builders import run, scores, values

DESIGNS = ("last+causal", "mean+causal", "last+bidirectional", "mean+bidirectional")
lists = st.lists(st.floats(-1, 1).map(lambda x: round(x, 2)), min_size=1, max_size=40)


@given(lists)
@settings(max_examples=100, deadline=None)
def test_signed_rank_p_is_a_p_and_symmetric(differences: list[float]) -> None:
    test = signed_rank_test(differences)
    assert test.smallest_p <= test.p <= 1
    assert signed_rank_test([-d for d in differences]).p == test.p


@given(lists)
@settings(max_examples=100, deadline=None)
def test_signflip_p_is_a_p_and_symmetric(differences: list[float]) -> None:
    test = signflip_test(differences, num_resamples=199)
    assert 0 < test.smallest_p <= test.p <= 1
    assert signflip_test([-d for d in differences], num_resamples=199).p == test.p


def holm(p_values: list[float]) -> list[float]:
    return tarone_holm(p_values, [0.0] * len(p_values))


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg, benjamini_yekutieli])
@given(p_values=st.lists(st.floats(1e-6, 1), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_corrections_never_lower_a_p_and_keep_the_order(correct, p_values: list[float]) -> None:  # type: ignore[no-untyped-def]
    adjusted = correct(p_values)
    assert all(raw <= p <= 1 or p == pytest.approx(raw) for raw, p in zip(p_values, adjusted, strict=True))
    assert np.all(np.diff(np.asarray(adjusted)[np.argsort(p_values)]) >= -1e-12)


@pytest.mark.parametrize(("count", "tied"), [(5, False), (8, False), (8, True), (30, True)])
def test_signed_ranks_reject_at_the_level_that_can_be_attained(count: int, tied: bool) -> None:
    rng = np.random.default_rng(count)
    samples = rng.normal(size=(1000, count))
    if tied:
        samples = samples.round(0)
    rejected = np.mean([signed_rank_test(row).p <= 0.05 for row in samples])
    # Two standard errors of a rate of 0.05 in 1,000 repeats are 0.014.
    assert rejected <= 0.05 + 0.014
    if count == 5:
        assert smallest_attainable_p(5) > 0.05
        assert rejected == 0
    if count == 8 and not tied:
        # Of 256 sign patterns 10 have a sum of at most 3 on either side: 0.0391.
        assert rejected == pytest.approx(10 / 256, abs=0.012)


@pytest.mark.parametrize(("count", "discrete"), [(12, False), (12, True), (60, False), (60, True)])
def test_sign_flips_reject_at_alpha(count: int, discrete: bool) -> None:
    rng = np.random.default_rng(count)
    samples = rng.normal(size=(400, count))
    if discrete:
        samples = samples.round(0)
    rejected = np.mean([signflip_test(row, num_resamples=199).p <= 0.05 for row in samples])
    assert 0.05 - 0.033 <= rejected <= 0.05 + 0.022


def records(category: Category, effect: float, noise: np.random.Generator, task: str) -> ItemScores:
    shared = np.random.default_rng(list(task.encode()))
    if category == "clustering":
        gold = shared.integers(0, 4, 30)
        rows = np.where(noise.uniform(size=(3, 30)) < 0.4 + effect, gold, noise.integers(0, 5, (3, 30)))
        ids = [str(k) for k in range(30)]
        fields: dict[str, object] = {"ids": ids, "gold": [str(g) for g in gold], "assignments": rows.tolist()}
        return scores(task, 0.5 + effect / 10, category=category, **fields)
    signal = shared.uniform(size=30)
    gold = (signal > 0.5).astype(float) if category == "pair_classification" else signal
    gold_field = gold.tolist() if category in ("sts", "pair_classification") else []
    seen = np.clip(0.5 * signal + 0.4 * noise.uniform(size=30) + effect, 0, 1)
    return values(task, seen, category=category, gold=gold_field, group=[f"g{k // 2}" for k in range(30)])


def study(seed: int = 0) -> list[Run]:
    noise = np.random.default_rng(seed)
    return [
        run(
            design,
            [records(category, 0.02 * number, noise, f"t{t}") for category in CATEGORIES for t in range(2)],
            seed=training_seed,
            parameters=number,
        )
        for number, design in enumerate(DESIGNS)
        for training_seed in (0, 1)
    ]


def compare(runs: list[Run], seed: int = 0) -> Comparison:
    return compare_runs(runs, reference=DESIGNS[0], seed=seed, num_resamples=300)


def everything(result: Comparison) -> list[Contrast]:
    return [*result.contrasts, *result.task_contrasts]


def test_every_p_lies_in_its_range_in_every_category() -> None:
    contrasts = everything(compare(study()))
    assert {contrast.category for contrast in contrasts if contrast.task} == set(CATEGORIES)
    for contrast in contrasts:
        assert contrast.p is not None
        assert contrast.smallest_p is not None
        assert 0 < contrast.smallest_p <= contrast.p <= 1
        assert contrast.p_holm is not None
        assert contrast.p <= contrast.p_holm <= 1


def test_the_same_runs_and_seed_give_the_same_record() -> None:
    assert compare(study()) == compare(study())
    assert compare(study()) != compare(study(), seed=1)


def test_the_order_of_the_runs_changes_at_most_which_is_a() -> None:
    forward, backward = compare(study()), compare(study()[::-1])
    found = {(c.category, c.task, c.a, c.b): c for c in everything(backward)}
    for contrast in everything(forward):
        key = (contrast.category, contrast.task)
        same = found.get((*key, contrast.a, contrast.b))
        other = same or found[*key, contrast.b, contrast.a]
        assert other.p == pytest.approx(contrast.p, rel=1e-9)
        assert other.difference == pytest.approx(contrast.difference if same else -contrast.difference, abs=1e-12)


def test_swapping_a_and_b_negates_the_difference_and_keeps_p() -> None:
    runs = [one for one in study() if one.manifest.design in DESIGNS[:2]]
    forward = everything(compare_runs(runs, reference=DESIGNS[0], num_resamples=300))
    backward = everything(compare_runs(runs, reference=DESIGNS[1], num_resamples=300))
    for one, two in zip(forward, backward, strict=True):
        assert (one.a, one.b, one.p) == (two.b, two.a, two.p)
        assert one.difference == pytest.approx(-two.difference, abs=1e-12)
        if one.interval and two.interval:
            assert one.interval == pytest.approx((-two.interval[1], -two.interval[0]), abs=1e-9)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_null_experiment_rejects_at_about_alpha_within_a_task(category: Category) -> None:
    noise = np.random.default_rng(7)
    rejected = []
    for _ in range(100):
        runs = [run(name, [records(category, 0.0, noise, "t")]) for name in DESIGNS[:2]]
        (contrast,) = compare_runs(runs, reference=DESIGNS[0], num_resamples=99).task_contrasts
        assert contrast.p is not None
        rejected.append(contrast.p <= 0.05)
    # Three standard errors in 100 repeats.
    assert np.mean(rejected) <= 0.05 + 0.065
