"""The primary test over a suite, through compare_runs, on studies with known seeds and items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from poolwise.errors import EvalError
from poolwise.records import Run
from poolwise.results import Comparison, Contrast
from poolwise.stats import compare_runs
from unit.stats.designs.builders import run, scores, values

REFERENCE, OTHER, THIRD = "last+causal", "mean+causal", "last+bidirectional"
TASKS, ITEMS = 3, 80


def study(
    effects: dict[str, float],
    *,
    seeds: Sequence[int] = (0, 1),
    seed_std: float = 0.0,
    noise: int = 0,
    own_seeds: bool = False,
) -> list[Run]:
    """Return runs whose items are 0.5 + effect + a shared difficulty + noise + the seed's own shift."""
    rng = np.random.default_rng(noise)
    difficulty = rng.normal(0, 0.1, (TASKS, ITEMS))
    runs = []
    for place, (name, effect) in enumerate(effects.items()):
        for seed in seeds:
            shift = rng.normal(0, seed_std)
            rows = 0.5 + effect + shift + difficulty + rng.normal(0, 0.02, (TASKS, ITEMS))
            number = seed + (10 * place if own_seeds else 0)
            runs.append(run(name, [values(f"t{t}", row) for t, row in enumerate(rows)], seed=number, parameters=place))
    return runs


def compare(runs: list[Run], **options: object) -> Comparison:
    return compare_runs(runs, reference=REFERENCE, num_resamples=2000, **options)  # type: ignore[arg-type]


def only(result: Comparison) -> Contrast:
    (contrast,) = result.contrasts
    return contrast


def test_a_large_steady_difference_is_decided_with_three_tasks() -> None:
    result = compare(study({REFERENCE: 0.0, OTHER: 0.05}))
    contrast = only(result)
    assert (contrast.estimand, contrast.verdict) == ("designs_on_tasks", "better")
    assert contrast.p is not None
    assert contrast.p < 0.05
    assert contrast.interval is not None
    assert contrast.simultaneous is not None
    assert contrast.interval[0] < 0.05 < contrast.interval[1]
    assert (contrast.num_items, contrast.num_tasks, contrast.num_seeds) == (TASKS * ITEMS, TASKS, 2)
    # The signed ranks of three tasks stand beside it and can decide nothing.
    (across,) = result.tasks_like_these
    assert (across.estimand, across.p, across.verdict) == ("tasks_like_these", 0.25, "not decided")


def test_no_difference_is_shown_to_be_practically_none() -> None:
    contrast = only(compare(study({REFERENCE: 0.0, OTHER: 0.0}), equivalence=0.05))
    assert (contrast.verdict, contrast.equivalence) == ("equal", 0.05)


def test_equal_and_cheaper_is_recommended() -> None:
    result = compare(study({REFERENCE: 0.0, OTHER: 0.001}), equivalence=0.05)
    (advice,) = result.recommendations
    assert (advice.best, advice.recommended, advice.decided) == (OTHER, REFERENCE, True)
    assert "is practically equal to it" in advice.sentence


def test_seeds_that_disagree_leave_it_open() -> None:
    steady = only(compare(study({REFERENCE: 0.0, OTHER: 0.05})))
    shaky = only(compare(study({REFERENCE: 0.0, OTHER: 0.05}, seed_std=0.08)))
    assert steady.verdict == "better"
    assert shaky.verdict == "not decided"
    assert steady.p is not None
    assert shaky.p is not None
    assert shaky.p > 5 * steady.p


def test_other_treatments_of_the_seeds_stand_beside() -> None:
    result = compare(study({REFERENCE: 0.0, OTHER: 0.02}, seed_std=0.01))
    own, pigeonhole = result.seed_contrasts
    assert "Satterthwaite" in own.test
    assert own.p is not None
    assert "pigeonhole" in pigeonhole.test
    assert (pigeonhole.p, pigeonhole.verdict) == (None, None)
    assert "too short" in pigeonhole.note
    assert own.difference == pigeonhole.difference == only(result).difference


def test_one_seed_says_nothing_about_the_designs() -> None:
    contrast = only(compare(study({REFERENCE: 0.0, OTHER: 0.05}, seeds=[0])))
    assert contrast.verdict == "not decided"
    assert "one seed" in contrast.note


def test_one_design_with_one_seed_among_others_is_tested_as_a_checkpoint() -> None:
    runs = [
        r
        for r in study({REFERENCE: 0.0, OTHER: 0.05, THIRD: 0.05})
        if (r.manifest.design, r.manifest.seed) != (THIRD, 1)
    ]
    result = compare(runs)
    found = {contrast.a: contrast for contrast in result.contrasts}
    assert found[OTHER].verdict == "better"
    assert found[THIRD].p is not None and found[THIRD].p < 0.05
    assert found[THIRD].verdict == "not decided"
    assert "one seed" in found[THIRD].note
    assert any("seeds differ" in note for note in result.notes)


def test_unpaired_seeds_still_compare() -> None:
    contrast = only(compare(study({REFERENCE: 0.0, OTHER: 0.05}, own_seeds=True)))
    assert (contrast.verdict, contrast.by_seed, contrast.seed_spread) == ("better", [], None)


def test_the_tasks_can_be_made_primary() -> None:
    result = compare(study({REFERENCE: 0.0, OTHER: 0.05}), primary="tasks")
    assert only(result).estimand == "tasks_like_these"
    assert result.tasks_like_these == []


def test_a_suite_without_items_falls_back_or_says_so() -> None:
    runs = [run(name, [scores("t", 0.5)], seed=seed) for name in (REFERENCE, OTHER) for seed in (0, 1)]
    assert only(compare(runs)).estimand == "tasks_like_these"
    with pytest.raises(EvalError, match="no items on retrieval/t"):
        compare(runs, primary="suite")


def test_percentages_have_a_region_a_hundredfold() -> None:
    runs = study({REFERENCE: 0.0, OTHER: 0.05})
    percent = []
    for one in runs:
        records = [
            record.model_copy(update={"score": 100 * record.score, "values": [100 * v for v in record.values]})
            for record in one.scores.values()
        ]
        percent.append(one.model_copy(update={"scores": {record.task: record for record in records}}))
    small, large = only(compare(runs)), only(compare(percent))
    assert large.equivalence == pytest.approx(0.5)
    assert large.difference == pytest.approx(100 * small.difference)
    assert large.p == pytest.approx(small.p)
    assert large.verdict == small.verdict


@pytest.mark.parametrize("wanted", [{"stss": 0.1}, 5.0, -0.1])
def test_a_region_that_is_none_is_refused(wanted: object) -> None:
    with pytest.raises(EvalError, match="equivalence"):
        compare(study({REFERENCE: 0.0, OTHER: 0.0}), equivalence=wanted)


def test_tasks_over_the_same_groups_are_drawn_together() -> None:
    """Two forms of the same posts say no more than one: the interval is that of one task, not shorter."""
    rng = np.random.default_rng(3)
    runs_once, runs_twice = [], []
    for name in (REFERENCE, OTHER):
        for seed in (0, 1):
            row = 0.5 + rng.normal(0, 0.05, 60)
            groups = [f"post{k}" for k in range(60)]
            runs_once.append(run(name, [values("p2p", row, group=groups)], seed=seed))
            runs_twice.append(run(name, [values(t, row, group=groups) for t in ("p2p", "s2s")], seed=seed))
    once, twice = (only(compare(runs)).interval for runs in (runs_once, runs_twice))
    assert once is not None
    assert twice == pytest.approx(once)


def test_too_few_resamples_for_the_family_is_said() -> None:
    result = compare_runs(study({REFERENCE: 0.0, OTHER: 0.05}), reference=REFERENCE, num_resamples=10)
    wanted = "to fix this, give --resamples 10000 (in Python num_resamples=10000)"
    assert any(note.endswith(wanted) for note in result.notes)


def test_power_and_variance_have_a_row_for_every_contrast() -> None:
    result = compare(study({REFERENCE: 0.0, OTHER: 0.02, THIRD: 0.0}, seed_std=0.01))
    keys = [(contrast.category, contrast.a, contrast.b) for contrast in result.contrasts]
    assert [(row.category, row.a, row.b) for row in result.variance] == keys
    assert [(row.category, row.a, row.b) for row in result.power] == keys
    assert all(sum(row.shares.values()) == pytest.approx(1.0) for row in result.variance)
    assert all("80 of 100" in row.sentence for row in result.power)
    assert "simultaneous" not in result.rule
    assert "practically equal" in result.rule


def test_small_p_values_of_a_large_family_are_permuted_further() -> None:
    rng = np.random.default_rng(5)
    tasks = [f"t{k}" for k in range(30)]
    runs = []
    for name, effect in ((REFERENCE, 0.0), (OTHER, 0.05)):
        rows = [values(t, rng.normal(effect if t == "t0" else 0.0, 0.05, 30)) for t in tasks]
        runs.append(run(name, rows, kind="external"))
    contrasts = compare_runs(runs).task_contrasts
    # 30 tests: 20 * 30 / 0.05 permutations where p is small, 10,000 where it is not.
    assert contrasts[0].test.endswith("(12000 permutations)")
    assert contrasts[0].p is not None
    assert 1 / 12001 <= contrasts[0].p < 0.002
    assert all(c.test.endswith("(10000 permutations)") for c in contrasts if c.p is not None and c.p > 0.01)


def test_no_permutations_are_spent_where_the_bound_says_enough() -> None:
    rng = np.random.default_rng(6)
    runs = []
    for name, effect in ((REFERENCE, 0.0), (OTHER, 0.5)):
        rows = [values(f"t{k}", rng.normal(effect, 0.05, 60)) for k in range(30)]
        runs.append(run(name, rows, kind="external"))
    contrasts = compare_runs(runs).task_contrasts
    assert {c.test for c in contrasts} == {
        "sign flips of per-item differences (less than one of 12000 permutations by Hoeffding's bound)"
    }
    assert [c.p for c in contrasts] == [c.smallest_p for c in contrasts] == pytest.approx([1 / 12001] * 30)


def test_below_ten_items_there_is_a_p_and_no_interval() -> None:
    rows = {REFERENCE: (0.1, 0.2, 0.3), OTHER: (0.5, 0.7, 0.9)}
    runs = [run(name, [values("t", row)], seed=seed) for name, row in rows.items() for seed in (0, 1)]
    contrast = only(compare(runs))
    assert (contrast.interval, contrast.simultaneous, contrast.verdict) == (None, None, "not decided")
    # Three items: a quarter of the sign patterns reach the difference.
    assert contrast.p == pytest.approx(0.25, abs=0.04)
    assert "no interval below 10" in contrast.note


def untrained(rows: dict[str, Sequence[float]]) -> list[Run]:
    """Two seeds that give the same scores, as of a pooling on a frozen base: the items are the only noise."""
    return [run(n, [values("t", row)], seed=s, parameters=0) for n, row in rows.items() for s in (0, 1)]


def test_the_least_p_knows_how_few_items_tell_two_designs_apart() -> None:
    few, many = np.zeros(40), np.full(40, 0.5)
    few[:5] = 1.0
    contrast = only(compare(untrained({REFERENCE: np.zeros(40).tolist(), OTHER: few.tolist()})))
    # Of 32 patterns of signs two reach what five items say together.
    assert contrast.smallest_p == pytest.approx(2 / 32, abs=0.02)
    assert contrast.p is not None and contrast.p >= contrast.smallest_p
    assert contrast.verdict == "not decided"
    same = only(compare(untrained({REFERENCE: many.tolist(), OTHER: many.tolist()})))
    # Forty items without a difference do not show that there is none among the others.
    assert (same.p, same.smallest_p, same.verdict) == (1.0, 1.0, "not decided")
    rng = np.random.default_rng(0)
    usual = only(compare(untrained({n: rng.normal(0.5, 0.1, 40).tolist() for n in (REFERENCE, OTHER)})))
    assert usual.smallest_p == 1 / 2001


def test_a_difference_that_never_varies_gives_no_t_test() -> None:
    result = compare(untrained({REFERENCE: [0.2] * 12, OTHER: [0.3] * 12}))
    (t_test,) = [c for c in result.seed_contrasts if "Satterthwaite" in c.test]
    assert (t_test.p, t_test.interval) == (None, None)
    assert "do not vary" in t_test.note
    # Twelve items of one sign are a finding of their own.
    assert only(result).p == pytest.approx(2 / 2**12, abs=0.002)


def test_no_verdict_that_the_corrected_p_does_not_bear_out() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        rows = {name: rng.normal(0.5, 0.1, 10).tolist() for name in (REFERENCE, OTHER)}
        contrast = only(compare_runs(untrained(rows), reference=REFERENCE, num_resamples=400))
        assert contrast.p_holm is not None
        assert contrast.verdict in ("equal", "not decided") or contrast.p_holm <= 0.05


@pytest.mark.parametrize(("effect", "is_said"), [(0.5, True), (0.0, False)])
def test_more_resamples_are_asked_for_where_they_set_the_least_p(effect: float, is_said: bool) -> None:
    rng = np.random.default_rng(7)
    runs = [
        run(name, [values(f"t{k}", rng.normal(shift, 0.1, 40)) for k in range(8)], kind="external")
        for name, shift in ((REFERENCE, 0.0), (OTHER, effect))
    ]
    # Eight tests of 99 resamples: no corrected p can be below 0.08.
    notes = compare_runs(runs, num_resamples=99).notes
    assert any("the within-task family has 8 tests" in note for note in notes) == is_said


def test_more_resamples_are_not_asked_for_where_few_items_set_the_least_p() -> None:
    few = np.zeros(40)
    few[:3] = 1.0
    notes = compare(untrained({REFERENCE: np.zeros(40).tolist(), OTHER: few.tolist()})).notes
    assert not any("num_resamples" in note for note in notes)


def test_percentages_of_poor_models_are_percentages() -> None:
    rows = {name: [100.0, *[0.0] * 199] for name in (REFERENCE, OTHER)}
    (contrast,) = compare(untrained(rows)).contrasts
    assert contrast.equivalence == pytest.approx(0.5)
