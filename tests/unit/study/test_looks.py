"""Studies with ``until_decided``: which jobs a look needs, when the study stops, and what its verdicts may spend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import toys
from poolwise.config import Recipe, build_recipe
from poolwise.errors import ConfigError
from poolwise.jobs import Job, Progress
from poolwise.records import load_record
from poolwise.report import study_text
from poolwise.results import Sequential, StudyResults
from poolwise.screening.screen_plan import screen_recipe
from poolwise.study import study as studies
from poolwise.study.looks import Look, looks, progress_note
from poolwise.study.study import check_folder, publish_unfinished, run_study
from tiny_models import save_tiny_base

SHARES = [4 / 9, 5 / 9]
"""Of 0.05, at the looks after two and after three seeds."""


class Listener(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.ran: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def job_started(self, job: Job) -> None:
        self.ran.append(job.label)


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    return {
        "name": "toy",
        "base": save_tiny_base(tmp_path / "base", "gpt2"),
        "designs": ["mean+causal", "last+causal"],
        "reference": "mean+causal",
        "seeds": [0, 1, 2],
        "until_decided": True,
        "data": {"train": [str(toys.write_training(tmp_path / "train.jsonl"))]},
        "train": {"steps": 1, "batch_size": 4, "max_tokens": 24},
        "eval": {"max_tokens": 24},
        "tasks": [str(toys.write_suite(tmp_path / "suite") / "sts")],
        "anchors": [],
    }


def run(recipe: Recipe, out: Path) -> tuple[Sequential | None, float, Listener]:
    listener = Listener()
    found = run_study(recipe, out, listener, workers=1).results
    return found.sequential, found.comparison.share, listener


@pytest.mark.slow
def test_a_study_without_a_decision_uses_all_seeds_and_is_judged_at_the_last_share(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    found, share, listener = run(build_recipe(tree), tmp_path / "out")
    assert found is not None and (found.num_seeds, found.most_seeds, found.num_decided) == (3, 3, 0)
    assert found.alpha == pytest.approx(0.05 * SHARES[1]) and share == pytest.approx(SHARES[1])
    assert sum(label.startswith("train") for label in listener.ran) == 6
    assert any(
        "0 of 1 contrasts are decided after 2 seeds (at 0.022, this look's part of 0.05)" in n for n in listener.notes
    )
    html = (tmp_path / "out" / "report.html").read_text()
    said = "after 3 of at most 3 seeds with 0 of 1 contrasts decided; the verdicts use 0.028 of the 0.05"
    assert said in html
    results = load_record(StudyResults, tmp_path / "out" / "results.json")
    assert f"Looks: stopped {said}" in study_text(results, tmp_path / "out")


def test_a_study_stops_once_nothing_is_open_and_repeating_it_adds_nothing(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect = studies.collect

    def decided(*args: Any, **kwargs: Any) -> Any:
        found = collect(*args, **kwargs)
        contrasts = [c.model_copy(update={"verdict": "better"}) for c in found.results.comparison.contrasts]
        comparison = found.results.comparison.model_copy(update={"contrasts": contrasts})
        return found.model_copy(update={"results": found.results.model_copy(update={"comparison": comparison})})

    monkeypatch.setattr(studies, "collect", decided)
    recipe = build_recipe(tree)
    found, share, listener = run(recipe, tmp_path / "out")
    assert found is not None and found.num_seeds == 2 and share == pytest.approx(SHARES[0])
    assert not any("seed 2" in label for label in listener.ran)
    assert listener.notes[-1].endswith("the study stops")
    before = json.loads((tmp_path / "out" / "results.json").read_text())
    _, _, again = run(recipe, tmp_path / "out")
    assert again.ran == [] and any("every job is done already" in note for note in again.notes)
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == before


def test_a_single_design_has_nothing_to_decide(tree: dict[str, Any], tmp_path: Path) -> None:
    found, _, _ = run(build_recipe(tree | {"designs": ["mean+causal"]}), tmp_path / "out")
    assert found is not None and (found.num_seeds, found.num_tested) == (2, 0)


@pytest.mark.slow
def test_the_report_of_an_interrupted_study_is_judged_at_a_planned_look(tree: dict[str, Any], tmp_path: Path) -> None:
    class Stops(Listener):
        def job_started(self, job: Job) -> None:
            if job.kind == "eval" and job.seed == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(build_recipe(tree), tmp_path / "out", Stops(), workers=1)
    found = publish_unfinished(tmp_path / "out").results
    assert found.sequential is not None and found.sequential.num_seeds == 2
    assert {score.seed for score in found.scores} == {0, 1} and found.comparison.share == pytest.approx(SHARES[0])


def test_a_look_needs_the_jobs_of_its_seeds_and_those_without_a_seed() -> None:
    kinds = [("anchor", 0), ("tune", 7), ("train", 7), ("train", 8), ("train", 9)]
    jobs = [Job(kind, "a", seed, "key", "run") for kind, seed in kinds]  # type: ignore[arg-type]
    assert [(job.kind, job.seed) for job in Look((7, 8)).jobs(jobs)] == [
        ("anchor", 0),
        ("tune", 7),
        ("train", 7),
        ("train", 8),
    ]


def test_without_the_key_there_is_one_look_at_everything(tree: dict[str, Any]) -> None:
    recipe = build_recipe(tree | {"until_decided": False})
    assert looks(recipe) == [Look((0, 1, 2), 1.0, True)]
    assert recipe.fingerprint == build_recipe({k: v for k, v in tree.items() if k != "until_decided"}).fingerprint
    assert recipe.fingerprint != build_recipe(tree).fingerprint


def test_two_seeds_leave_nothing_to_add(tree: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="until_decided adds seeds after the second, but seeds has 2") as error:
        build_recipe(tree | {"seeds": [0, 1]})
    assert "mean+causal" not in str(error.value), "the error shows the whole recipe"


def test_a_screen_has_no_looks(tree: dict[str, Any]) -> None:
    assert looks(screen_recipe(build_recipe(tree)))[0].is_last


def test_a_folder_of_an_older_version_without_a_key_is_the_same_study(tree: dict[str, Any], tmp_path: Path) -> None:
    recipe = build_recipe(tree | {"until_decided": False})
    older = recipe.model_dump(mode="json")
    del older["until_decided"], older["family"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.json").write_text(json.dumps(older))
    check_folder(recipe, tmp_path / "out")
    with pytest.raises(ConfigError, match="another recipe: until_decided"):
        check_folder(build_recipe(tree), tmp_path / "out")


def test_the_note_says_when_no_seed_is_left() -> None:
    found = Sequential(num_seeds=3, most_seeds=3, alpha=0.0278, num_decided=2, num_tested=4)
    assert progress_note(found) == (
        "2 of 4 contrasts are decided after 3 seeds (at 0.028, this look's part of 0.05); no seed is left"
    )
