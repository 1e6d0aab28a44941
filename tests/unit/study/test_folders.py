"""Output folders: whose they are, whether they can be written, and that bad input takes none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import toys
from poolwise.config import EvalConfig, Recipe, build_recipe
from poolwise.errors import ConfigError, DataError, EvalError, PoolwiseError
from poolwise.records import load_record
from poolwise.results import StudyResults
from poolwise.screening.screen import run_screened_study
from poolwise.storage.lock import locked
from poolwise.storage.new_folders import require_new_folder
from poolwise.study.folders import read_json, require_writable, write_json
from poolwise.study.single_evaluation import evaluate_single
from poolwise.study.single_training import build_single_run, train_single
from poolwise.study.study import check_folder, report_path, run_study


def quiet(*_: object) -> None:
    pass


def recipe_of(folder: Path, **changes: object) -> Recipe:
    tree = {
        "name": "toy",
        "base": "poolwise/nano",
        "designs": ["mean+causal"],
        "reference": "mean+causal",
        "seeds": [0],
        "data": {"train": [str(toys.write_training(folder / "train.jsonl"))]},
        "train": {"steps": 1, "batch_size": 8, "max_tokens": 24},
        "tasks": [str(toys.write_suite(folder / "suite"))],
    }
    return build_recipe(tree | changes)


def test_a_folder_that_cannot_be_made_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(ConfigError, match="give another folder as --out"):
            require_writable(out)
    require_writable(tmp_path / "new" / "deep")
    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_what_a_kill_in_the_middle_of_writing_leaves_does_not_take_a_folder(tmp_path: Path) -> None:
    (tmp_path / "study.json.partial").write_text("{")
    (tmp_path / ".lock").write_text("process 1 on a machine\n")
    require_new_folder(tmp_path, "study")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty and holds no study"):
        require_new_folder(tmp_path, "study")


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(EvalError, match=r"study\.json"):
        read_json(tmp_path / "study.json")
    with pytest.raises(EvalError, match=r"study\.json"):
        check_folder(recipe_of(tmp_path), tmp_path)


def test_json_is_written_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"a": 1})
    assert read_json(tmp_path / "new" / "a.json") == {"a": 1}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"tasks": ["nowhere"]}, DataError),
        ({"data": {"train": ["missing.jsonl"]}}, DataError),
        ({"eval": {"max_tokens": 10**7}}, ConfigError),
    ],
)
def test_a_study_with_bad_input_leaves_its_folder_to_the_mended_recipe(
    tmp_path: Path, changes: dict[str, object], error: type[PoolwiseError]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(error):
        run_study(recipe_of(tmp_path, **changes), out)
    assert list(out.iterdir()) == []
    check_folder(recipe_of(tmp_path), out)


def test_a_screened_study_with_bad_input_leaves_its_folder_too(tmp_path: Path) -> None:
    designs = {"designs": ["mean+causal", "last+causal"], "tasks": ["nowhere"]}
    for _ in range(2):  # the second is not told that the folder is taken
        with pytest.raises(DataError, match="nowhere"):
            run_screened_study(recipe_of(tmp_path, **designs), 1, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty and holds no screen"):
        run_screened_study(recipe_of(tmp_path, **designs), 1, tmp_path / "out")


def test_of_two_commands_on_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    recipe, out, data = recipe_of(tmp_path), tmp_path / "out", str(tmp_path / "train.jsonl")
    run = build_single_run("mean+causal", "poolwise/nano", [data], 0, 0, None, [])
    out.mkdir()
    commands = [
        lambda: run_study(recipe, out),
        lambda: train_single(run, out, quiet),
        lambda: evaluate_single("poolwise/nano", ["suite"], out, None, EvalConfig(), quiet),
    ]
    with locked(out):
        for command in commands:
            with pytest.raises(ConfigError, match=rf"{out} is in use by process {os.getpid()} on"):
                command()
    assert list(out.iterdir()) == []


def test_a_training_with_bad_input_leaves_its_folder_to_the_mended_command(tmp_path: Path) -> None:
    def run(data: str, steps: int):
        return build_single_run("mean+causal", "poolwise/nano", [data], steps, 0, None, ["batch_size=8"])

    out, data = tmp_path / "out", str(toys.write_training(tmp_path / "train.jsonl"))
    with pytest.raises(DataError):
        train_single(run("missing.jsonl", 0), out, quiet)
    assert train_single(run(data, 0), out, quiet).design == "mean+causal"
    with pytest.raises(ConfigError, match=r"holds another training run: train differ"):
        train_single(run(data, 1), out, quiet)


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, str]:
    """Two folders with untrained models of two designs."""
    data = str(toys.write_training(tmp_path / "train.jsonl"))
    for name in ("mean", "last"):
        run = build_single_run(f"{name}+causal", "poolwise/nano", [data], 0, 0, None, ["batch_size=8"])
        train_single(run, tmp_path / name, quiet)
    return str(tmp_path / "mean"), str(tmp_path / "last")


def evaluated(model: str, task: Path, out: Path, max_tokens: int = 24, report=quiet) -> dict[str, float]:
    config = EvalConfig(max_tokens=max_tokens)
    _, scores = evaluate_single(model, [str(task)], out, None, config, report)
    return {record.task: record.score for record in scores}


@pytest.mark.slow
def test_scores_of_two_models_never_meet_in_one_folder(tmp_path: Path, models: tuple[str, str]) -> None:
    task, out = toys.write_suite(tmp_path / "suite") / "retrieval", tmp_path / "eval"

    class KilledError(Exception):
        pass

    def kill(done: int, total: int, detail: str) -> None:
        if "scored" in detail:
            raise KilledError

    with pytest.raises(KilledError):  # nothing says yet whose folder it is, unless it was said at the start
        evaluated(models[0], task, out, report=kill)
    with pytest.raises(ConfigError, match="holds the scores of another evaluation: model differ"):
        evaluated(models[1], task, out)
    with pytest.raises(ConfigError, match="max_tokens differ"):
        evaluated(models[0], task, out, max_tokens=32)
    whole = evaluated(models[0], task, out)
    assert whole == evaluated(models[0], task, tmp_path / "other")
    assert json.loads((out / "run.json").read_text())["design"] == "mean+causal"


def test_a_model_may_be_evaluated_into_its_own_folder_but_into_no_other(
    tmp_path: Path, models: tuple[str, str]
) -> None:
    task = toys.write_suite(tmp_path / "suite") / "sts"
    assert evaluated(models[0], task, Path(models[0])).keys() == {"sts/toy-sts"}
    assert evaluated(models[0], task, Path(models[0])).keys() == {"sts/toy-sts"}
    with pytest.raises(ConfigError, match="holds the run of"):
        evaluated(models[0], task, Path(models[1]))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty and holds no evaluation"):
        evaluated(models[0], task, tmp_path / "notes")


@pytest.mark.slow
def test_a_model_is_evaluated_with_the_prompts_of_its_recipe(tmp_path: Path) -> None:
    prompts = {"sts": {"query": "compare this: "}, "clustering": {"query": "the topic of: "}}
    recipe = recipe_of(tmp_path, prompts=prompts, anchors=[], eval={"max_tokens": 24})
    returned = run_study(recipe, tmp_path / "out", workers=1)
    assert returned == load_record(StudyResults, tmp_path / "out" / "results.json")
    assert report_path(tmp_path / "out").is_file()
    run = next((tmp_path / "out" / "runs").iterdir())
    found = json.loads((tmp_path / "out" / "results.json").read_text())["results"]["scores"]
    scores = evaluated(str(run), tmp_path / "suite", tmp_path / "eval")
    assert scores == {row["task"]: pytest.approx(row["score"], abs=1e-6) for row in found}
    plain = evaluated_without_prompts(run, tmp_path)
    assert plain["sts/toy-sts"] != scores["sts/toy-sts"]


def evaluated_without_prompts(run: Path, tmp_path: Path) -> dict[str, float]:
    path = run / "model" / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": {}}))
    return evaluated(str(run), tmp_path / "suite", tmp_path / "plain")
