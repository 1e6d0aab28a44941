"""Studies at several training budgets, and jobs taken from another study's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import toys
from poolwise.config import build_recipe
from poolwise.errors import ConfigError
from poolwise.integrity.studies import verify_study
from poolwise.jobs import Job, Progress
from poolwise.records import load_run
from poolwise.report.budgets import budgets_text
from poolwise.study.budgets import at_budgets, run_budgets
from poolwise.study.study import run_study
from tiny_models import save_tiny_base


class Listener(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.ran: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def job_started(self, job: Job) -> None:
        self.ran.append(job.label)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "name": "toy",
        "base": save_tiny_base(folder / "base", "gpt2"),
        "designs": ["mean+causal", "last+causal"],
        "reference": "mean+causal",
        "seeds": [0],
        "data": {"train": [str(toys.write_training(folder / "train.jsonl"))]},
        "train": {"steps": 1, "batch_size": 4, "max_tokens": 24},
        "eval": {"max_tokens": 24},
        "tasks": [str(toys.write_suite(folder / "suite") / "sts")],
        "anchors": ["random"],
    }


@pytest.fixture(scope="module")
def first(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study at seed 0."""
    out = tmp_path_factory.mktemp("first") / "out"
    run_study(build_recipe(tree), out, workers=1)
    return out


def scores(out: Path) -> dict[str, Any]:
    folders = [path.parent for path in sorted((out / "runs").glob("*/run.json"))]
    return {folder.name: load_run(folder).scores for folder in folders}


@pytest.mark.slow
def test_more_seeds_take_the_jobs_of_fewer(tree: dict[str, Any], first: Path, tmp_path: Path) -> None:
    recipe, listener = build_recipe(tree | {"seeds": [0, 1]}), Listener()
    found = run_study(recipe, tmp_path / "out", listener, workers=1, reuse=[first])
    assert f"5 of 9 jobs are taken from {first}, where they are finished" in listener.notes
    assert listener.ran == [f"{kind} {name}, seed 1" for name in tree["designs"] for kind in ("train", "eval")]
    fresh = run_study(recipe, tmp_path / "fresh", workers=1)
    assert found.results == fresh.results
    assert scores(tmp_path / "out") == scores(tmp_path / "fresh")


@pytest.mark.slow
def test_only_whole_jobs_with_equal_inputs_are_taken(tree: dict[str, Any], first: Path, tmp_path: Path) -> None:
    listener = Listener()
    run_study(
        build_recipe(tree | {"train": {**tree["train"], "steps": 2}}),
        tmp_path / "a",
        listener,
        workers=1,
        reuse=[first],
    )
    assert f"1 of 5 jobs are taken from {first}, where they are finished" in listener.notes
    assert not verify_study(tmp_path / "a").damaged
    items = next((tmp_path / "a" / "runs").glob("last*/items/sts/*.gz"))
    items.write_bytes(items.read_bytes()[:-4])
    listener = Listener()
    again = build_recipe(tree | {"train": {**tree["train"], "steps": 2}, "anchors": []})
    run_study(again, tmp_path / "b", listener, workers=1, reuse=[tmp_path / "a"])
    assert f"3 of 4 jobs are taken from {tmp_path / 'a'}, where they are finished" in listener.notes
    assert listener.ran == ["eval last+causal, seed 0"]
    assert not verify_study(tmp_path / "b").damaged
    models = [next((tmp_path / name / "runs").glob("last*/model")) for name in ("a", "b")]
    assert len({frozenset(path.name for path in folder.iterdir()) for folder in models}) == 1
    listener = Listener()
    other = build_recipe(tree | {"anchors": [], "train": {**tree["train"], "learning_rate": 1e-5}})
    run_study(other, tmp_path / "c", listener, workers=1, reuse=[first])
    assert f"{first} has no finished job that this study needs" in " ".join(listener.notes)


def test_a_folder_that_is_no_other_study_is_refused(tree: dict[str, Any], first: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the folder of a study"):
        run_study(build_recipe(tree), tmp_path / "out", reuse=[tmp_path])
    with pytest.raises(ConfigError, match=r"it holds studies, such as .*out: name one of them"):
        run_study(build_recipe(tree), tmp_path / "out", reuse=[first.parent])
    with pytest.raises(ConfigError, match="is the study's own folder"):
        run_study(build_recipe(tree), first, reuse=[first])
    assert not (tmp_path / "out" / "study.json").exists()


@pytest.mark.slow
def test_each_budget_is_a_study_and_the_page_compares_them(tree: dict[str, Any], first: Path, tmp_path: Path) -> None:
    listener, recipe = Listener(), build_recipe(tree)
    found = run_budgets(recipe, [3, 1], tmp_path / "out", listener, "poolwise study toy --budgets 3,1", workers=1)
    assert list(found) == [1, 3]
    assert found[1].results == json_results(first)
    assert listener.ran.count("baseline random") == 1
    losses = [(path / "training.jsonl").read_text().count("\n") for path in (tmp_path / "out").glob("*/runs/mean*")]
    assert sorted(losses) == [1, 3]
    for text in ((tmp_path / "out" / "budgets.md").read_text(), budgets_text(found)):
        for steps, study in found.items():
            for mean in study.results.comparison.means:
                assert f"{mean.mean:.4f}".replace("-", "−") in text
            assert f"After {steps} steps: " in text
    text = (tmp_path / "out" / "budgets.md").read_text()
    assert text.count("poolwise study toy --budgets 3,1") == 1
    assert f"**Base:** {recipe.base}" in text and "**Machine:** " in text and "**Designs:** 2, seeds 0" in text
    page = (tmp_path / "out" / "budgets.html").read_text()
    assert page.count("after 3 steps") >= 2 and "<svg" in page
    listener = Listener()
    assert run_budgets(recipe, [1, 3], tmp_path / "out", listener, workers=1)[3].results == found[3].results
    assert listener.ran == []
    assert not any("has no finished job" in note for note in listener.notes)
    listener = Listener()
    run_budgets(recipe, [1, 3], tmp_path / "again", listener, workers=1, reuse=[first, tmp_path / "out" / "steps-3"])
    assert listener.ran == []


def json_results(out: Path) -> object:
    from poolwise.records import load_record
    from poolwise.results import StudyResults

    return load_record(StudyResults, out / "results.json").results


@pytest.mark.parametrize("budgets", [[1], [2, 2], [0, 1]])
def test_budgets_are_two_or_more_different_numbers_of_steps(tree: dict[str, Any], budgets: list[int]) -> None:
    with pytest.raises(ConfigError):
        at_budgets(build_recipe(tree), budgets)


def test_a_budget_keeps_the_other_keys(tree: dict[str, Any]) -> None:
    found = at_budgets(build_recipe(tree), [240, 60])
    assert list(found) == [60, 240]
    for steps, recipe in found.items():
        assert json.loads(recipe.model_dump_json()) == json.loads(
            build_recipe(tree | {"train": {**tree["train"], "steps": steps}}).model_dump_json()
        )
