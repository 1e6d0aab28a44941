"""The size of a recipe's study: variances of a pilot, the family of the recipe, the cost of each change."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from poolwise.config import Recipe, build_recipe
from poolwise.errors import ConfigError
from poolwise.jobs import Job
from poolwise.records import load_record, save_record
from poolwise.results import StudyResults
from poolwise.study.estimate import Estimate
from poolwise.study.pilot import DEFAULTS, Pilot, find_pilot, load_pilot
from poolwise.study.size_plan import NO_SEED, ONE_TASK, outlooks, plan_size
from support import ROOT

RECORDED = ROOT / "docs" / "results" / "controlled"


@dataclass(frozen=True)
class FakeTask:
    """What a plan reads of a task."""

    category: str
    num_total: int


TASKS = [FakeTask("classification", 2000), FakeTask("classification", 1000), FakeTask("retrieval", 2000)]
KINDS = {"adapt": 0.0, "train": 60.0, "eval": 30.0, "anchor": 10.0}


def recipe(**changes: object) -> Recipe:
    fields = {"name": "x", "base": "poolwise/nano", "designs": ["last+causal", "mean+causal", "mean+bidirectional"]}
    fields |= {"reference": "last+causal", "data": {"train": ["x"]}, "tasks": ["x"], "max_items": 200}
    return build_recipe({**fields, "seeds": [0, 1, 2], **changes})


def estimate() -> Estimate:
    jobs = [Job(kind=kind, name=kind, seed=0, key=kind, run="") for kind in KINDS]  # type: ignore[arg-type]
    return Estimate(jobs, {job.id: KINDS[job.kind] for job in jobs}, 1.0, tasks=TASKS)  # type: ignore[arg-type]


def test_defaults_are_those_of_the_recorded_study() -> None:
    found = load_pilot(RECORDED).variances
    assert set(found) == {"sts", "retrieval", "classification", "clustering"}
    for category, variances in found.items():
        # Repeating the study on another machine moves them by less.
        assert variances.item == pytest.approx(DEFAULTS[category].item, rel=0.3)
        assert variances.seed == pytest.approx(DEFAULTS[category].seed, rel=0.3)


def test_the_family_is_contrasts_times_categories() -> None:
    found = outlooks(recipe(), TASKS, Pilot())  # type: ignore[arg-type]
    # last against both means, and causal mean against bidirectional mean; two categories
    assert {one.planned.family.count for one in found} == {3 * 2}
    assert [one.category for one in found] == ["classification", "retrieval"]
    assert [one.planned.size.items for one in found] == [(200, 200), (200,)]


def test_the_family_of_a_recipe_that_corrects_within_a_category_or_has_looks() -> None:
    (first, *_) = outlooks(recipe(family="category", until_decided=True), TASKS, Pilot())  # type: ignore[arg-type]
    (every, *_) = outlooks(recipe(), TASKS, Pilot())  # type: ignore[arg-type]
    assert 2 * first.planned.family.count == every.planned.family.count
    assert first.planned.family.has_looks and not every.planned.family.has_looks


def test_what_no_test_can_decide_is_said() -> None:
    of_two, of_one = outlooks(recipe(seeds=[0]), TASKS, Pilot())  # type: ignore[arg-type]
    assert of_two.notes == (NO_SEED,) and of_one.notes == (NO_SEED, ONE_TASK)
    assert of_two.detectable is None


def test_a_pilot_is_found_beside_the_study(tmp_path: Path) -> None:
    assert find_pilot(tmp_path / "x", "x") is None
    (tmp_path / "x-screen").mkdir()
    results = load_record(StudyResults, RECORDED / "results.json")
    as_screen = results.model_copy(update={"results": results.results.model_copy(update={"kind": "screen"})})
    save_record(as_screen, tmp_path / "x-screen" / "results.json")
    found = find_pilot(tmp_path / "x", "x")
    assert found is not None and found.of("sts")[1] == "pilot" and found.of("reranking")[1] == "defaults"
    assert "only heads vary" in found.notes[-1]


def test_a_pilot_without_a_spread_over_seeds_has_the_default(tmp_path: Path) -> None:
    results = load_record(StudyResults, RECORDED / "results.json")
    compared = results.results.comparison
    still = [share.model_copy(update={"seed_std": 0.0}) for share in compared.variance]
    compared = compared.model_copy(update={"variance": still})
    changed = results.model_copy(update={"results": results.results.model_copy(update={"comparison": compared})})
    save_record(changed, tmp_path / "results.json")
    found = load_pilot(tmp_path)
    assert found.of("sts")[0].seed == DEFAULTS["sts"].seed
    assert "sts: the pilot shows no spread over seeds, so the default is used" in found.notes


def test_a_pilot_without_results_or_variances_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no results of a pilot at .*wanted the folder of a finished study"):
        load_pilot(tmp_path)
    results = load_record(StudyResults, RECORDED / "results.json")
    bare = results.results.comparison.model_copy(update={"variance": []})
    changed = results.model_copy(update={"results": results.results.model_copy(update={"comparison": bare})})
    save_record(changed, tmp_path / "results.json")
    with pytest.raises(ConfigError, match=r"no variances"):
        load_pilot(tmp_path / "results.json")


def test_more_seeds_repeat_training_and_evaluation_and_more_items_only_evaluation() -> None:
    plan = plan_size(recipe(), estimate(), Pilot(), 0.03)
    assert plan.num_tests == 6 and plan.together is not None
    for way in (way for found in plan.ways.values() for way in found):
        if way.change == "seeds":
            # 60 s of training and 30 s of evaluation grow, 10 s of baselines do not.
            assert way.times == pytest.approx((90 * way.size.seeds / 3 + 10) / 100)
        if way.change == "items and seeds":
            assert way.max_items is not None
            items = sum(min(task.num_total, way.max_items) for task in TASKS) / 600
            seeds = way.size.seeds / 3
            assert way.times == pytest.approx((60 * seeds + 30 * seeds * items + 10 * items) / 100)
    assert {way.change for way in plan.ways["classification"]} >= {"seeds", "items and seeds"}
    largest = max(found[0].times for found in plan.ways.values() if found)
    assert plan.together.times >= largest * 0.97  # a cap and seeds for all cost no less than for one category


def test_bad_effects_and_recipes_without_contrasts_are_refused() -> None:
    for effect in (0.0, 1.0, -0.01):
        with pytest.raises(ConfigError, match=r"--detect is .*wanted a difference of scores between 0 and 1"):
            plan_size(recipe(), estimate(), Pilot(), effect)
    with pytest.raises(ConfigError, match=r"give no contrast to test"):
        plan_size(recipe(designs=["last+causal"]), estimate(), Pilot(), 0.01)
