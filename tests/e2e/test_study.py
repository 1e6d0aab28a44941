"""The main job through the command line: a study, its resumption, its records, and its errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from command_line import POOLWISE, poolwise, write_recipe


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    poolwise("study", write_recipe(folder), "--out", "out", cwd=folder)
    return folder


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def test_a_study_ends_with_a_report(study: Path) -> None:
    found = results(study / "out")["results"]
    assert {task["task"] for task in found["tasks"]} == {
        "sts/toy-sts",
        "retrieval/toy-search",
        "classification/toy-kind",
        "clustering/toy-groups",
    }
    names = {(score["name"], score["seed"]) for score in found["scores"]}
    assert {(d, s) for d in ("last+causal", "multilayer+bidirectional", "mean+causal") for s in (0, 1)} <= names
    assert {"untuned", "random", "bm25"} <= {name for name, _ in names}
    assert found["failures"] == {} and found["not_run"] == []
    extremes = {task["task"]: task for task in found["comparison"]["extremes"]}
    assert extremes.keys() == {task["task"] for task in found["tasks"]}
    assert all(task["ids"] and all(task["parts"].values()) for task in extremes.values())
    assert extremes["retrieval/toy-search"]["parts"].keys() == {"query", "relevant"}
    html = (study / "out" / "report.html").read_text()
    assert "multilayer+bidirectional" in html and "<script src" not in html
    assert (study / "out" / "report.md").is_file()
    cards = [path.read_text() for path in (study / "out" / "runs").glob("*/model/README.md")]
    assert len(cards) == 6 and all("From the study toy" in card and "minus bm25" in card for card in cards)


def test_designs_share_batches_and_lora_start(study: Path) -> None:
    manifests = [json.loads(path.read_text()) for path in (study / "out" / "runs").glob("*/run.json")]
    trained = [manifest for manifest in manifests if manifest["kind"] == "trained"]
    assert len(trained) == 6
    for part in ("schedule", "lora_init", "base"):
        by_seed = {seed: {m["hashes"][part] for m in trained if m["seed"] == seed} for seed in (0, 1)}
        assert all(len(values) == 1 for values in by_seed.values()), part
    assert {m["hashes"]["schedule"] for m in trained if m["seed"] == 0} != {
        m["hashes"]["schedule"] for m in trained if m["seed"] == 1
    }


def test_a_second_run_ends_at_once_with_the_same_results(study: Path) -> None:
    before = results(study / "out")
    shutil.rmtree(study / "out" / "texts")  # a study from before texts were kept gets them in the same way
    found = poolwise("study", "toy.yaml", "--out", "out", cwd=study)
    assert "every job is done already" in found.stderr
    assert results(study / "out") == before


@pytest.mark.slow
def test_an_interrupted_study_goes_on_to_the_same_results(study: Path, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    command = [*POOLWISE, "study", "toy.yaml", "--out", "out"]
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr is not None
        for line in process.stderr:  # killed while other designs are trained
            if line.startswith("done eval last+causal, seed 0"):
                break
        process.kill()
    poolwise("report", "out", cwd=tmp_path)
    unfinished = results(tmp_path / "out")["results"]
    assert unfinished["failures"] == {}
    assert "eval mean+causal, seed 1" in unfinished["not_run"]
    assert "last+causal" in {score["name"] for score in unfinished["scores"]}
    poolwise("study", "toy.yaml", "--out", "out", cwd=tmp_path)
    again, first = results(tmp_path / "out"), results(study / "out")
    assert again["results"] == first["results"]
    assert first["measured"]["wall_seconds"] > 0
    assert again["measured"]["wall_seconds"] is None  # of this call's part only


def test_an_output_folder_of_another_recipe_is_refused(study: Path) -> None:
    found = poolwise("study", "toy.yaml", "--out", "out", "--set", "train.steps=3", cwd=study, code=2)
    assert "train differ" in found.stderr
    assert found.stderr.count("\n") == 1


def test_dry_run_prints_a_plan_and_writes_nothing(study: Path) -> None:
    found = poolwise("study", "toy.yaml", "--out", "other", "--dry-run", "--json", cwd=study)
    plan = json.loads(found.stdout)
    assert [job["id"].split("-")[0] for job in plan["jobs"]] == ["anchor"] * 3 + ["train", "eval"] * 6
    assert plan["seconds"] > 0 and plan["peak_memory_gib"] > 0
    assert not (study / "other").exists()


def test_a_trained_model_is_evaluated_the_same_outside_the_study(study: Path, tmp_path: Path) -> None:
    run = next((study / "out" / "runs").glob("multilayer+bidirectional-s0-*"))
    args = ("eval", run, "--tasks", study / "suite", "--out", tmp_path / "eval", "--json")
    found = json.loads(poolwise(*args, cwd=tmp_path).stdout)
    assert found["design"] == "multilayer+bidirectional"
    rows = results(study / "out")["results"]["scores"]
    expected = {row["task"]: row["score"] for row in rows if row["run"] == run.name}
    assert {name: task["score"] for name, task in found["tasks"].items()} == pytest.approx(expected, abs=1e-6)
    assert set(found["tasks"]["sts/toy-sts"]) == {"category", "metric", "score", "num_items"}
    other, against = next((study / "out" / "runs").glob("mean+causal-s0-*")), ("--reference", "mean+causal")
    compared = json.loads(poolwise("compare", tmp_path / "eval", other, *against, "--json", cwd=tmp_path).stdout)
    assert all(task["parts"] for task in compared["extremes"]) and len(compared["extremes"]) == 4


def test_compare_reads_a_study_and_prints_json(study: Path) -> None:
    found = json.loads(poolwise("compare", "out", "--reference", "last+causal", "--json", cwd=study).stdout)
    assert found
    text = poolwise("compare", "out", cwd=study).stdout
    assert "last+causal" in text and "bm25 (baseline)" in text


def test_report_is_written_again_from_the_records(study: Path) -> None:
    (study / "out" / "report.html").unlink()
    poolwise("report", "out", cwd=study)
    assert (study / "out" / "report.html").is_file()


def test_doctor_passes_our_models_and_exits_zero(study: Path) -> None:
    run = next((study / "out" / "runs").glob("last+causal-s0-*"))
    found = json.loads(poolwise("doctor", run, "--json", cwd=study).stdout)
    assert found["kind"] == "embedding model" and found["status"] in ("pass", "warn")
    assert {check["name"] for check in found["checks"]} >= {"attention", "pooling", "spread", "speed"}


@pytest.mark.slow
def test_tuning_gives_every_design_the_same_trials_and_records_its_choice(tmp_path: Path) -> None:
    write_recipe(
        tmp_path,
        designs=["paper:1", "mean+causal"],
        seeds=[0],
        anchors=[],
        train={"steps": 1, "batch_size": 8, "max_tokens": 24},
        tune={"learning_rate": [1.0e-5, 1.0e-2], "steps": 1, "dev": ["suite/sts/toy-sts@dev"]},
    )
    pairs = tmp_path / "suite" / "sts" / "toy-sts"
    rows = (pairs / "test.jsonl").read_text().splitlines()
    (pairs / "dev.jsonl").write_text("\n".join(reversed(rows)).replace("the ", "this "))
    poolwise("study", "toy.yaml", "--out", "out", cwd=tmp_path)
    found = results(tmp_path / "out")["results"]
    for design in found["designs"]:
        trials = found["tuning"][design["design"]]
        assert set(trials) == {"1e-05", "0.01"}
        best = max(trials, key=lambda rate: trials[rate])
        assert design["learning_rate"] == {"0": float(best)}


def test_tuning_on_the_test_items_is_refused(tmp_path: Path) -> None:
    tune = {"learning_rate": [1.0e-5, 1.0e-2], "steps": 1, "dev": ["suite/sts/toy-sts"]}
    write_recipe(tmp_path, tune=tune)
    found = poolwise("study", "toy.yaml", "--out", "out", cwd=tmp_path, code=2)
    assert "sts/toy-sts" in found.stderr and "evaluated on" in found.stderr
