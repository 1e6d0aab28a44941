"""One cell of a study, run again from its records: the same bit for bit, or what differs, or what is not as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from poolwise.cli.main import app
from poolwise.errors import ConfigError, DataError, EvalError
from poolwise.jobs import JobState
from poolwise.records import ItemScores, TrainingStep, load_record, load_steps, save_items, save_record, save_steps
from poolwise.study import jobs as study_jobs
from poolwise.study.differences import compare_run
from poolwise.study.repeat import locate_run, repeat_run
from poolwise.study.study import STUDY

CELL = "mean+causal-s0"


@pytest.fixture
def study(toy_study: Path) -> Path:
    return toy_study


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_of(study: Path, name: str) -> Path:
    return study / "runs" / locate_run(study, name)[1]


@pytest.mark.parametrize("cell", ["last+bidirectional-s0", "anchor-random"])
def test_a_repetition_is_the_same_bit_for_bit_and_changes_nothing(study: Path, cell: str) -> None:
    before = snapshot(study)
    done = CliRunner().invoke(app, ["repro", str(run_of(study, cell)), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["is_same"] and found["is_within"] and found["circumstances"] == []
    is_trained = cell.startswith("last")
    # The adapted base, which the bidirectional design starts from, is made and compared too.
    assert [run["num_steps"] for run in found["runs"]] == ([2, 3] if is_trained else [0])
    assert all(run["weights"]["num_tensors"] > 0 for run in found["runs"]) == is_trained
    assert [task["num_items"] for task in found["runs"][-1]["tasks"]] == [toys_items(study)]
    assert snapshot(study) == before


def toys_items(study: Path) -> int:
    return load_record(ItemScores, next(run_of(study, CELL).glob("items/*/*.json.gz"))).num_items


@pytest.fixture
def other_rate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trains with another rate than the record says: what another machine's rounding does, but larger."""
    train = study_jobs.train_run

    def faster(design, inputs, config, *rest, **options):  # type: ignore[no-untyped-def]
        return train(design, inputs, config.model_copy(update={"learning_rate": 3e-2}), *rest, **options)

    monkeypatch.setattr("poolwise.study.perform.train_run", faster)
    yield


@pytest.mark.usefixtures("other_rate")
def test_a_difference_is_named_and_decides_the_exit_code(study: Path) -> None:
    run = str(run_of(study, CELL))
    strict = CliRunner().invoke(app, ["repro", run, "--tolerance", "0", "--json"])
    found = json.loads(strict.stdout)
    assert strict.exit_code == 1 and not found["is_same"] and not found["is_within"]
    (cell,) = found["runs"]
    # The rate of the first step is another; the first loss is computed before it acts.
    assert cell["first_step"]["step"] == 1 and cell["first_step"]["field"] == "learning_rate"
    assert cell["weights"]["num_changed"] > 0 and cell["weights"]["relative"] > 0
    assert "learning_rate" in cell["facts"] and cell["tasks"][0]["num_changed"] > 0
    loose = CliRunner().invoke(app, ["repro", run, "--tolerance", "2"])
    assert loose.exit_code == 0
    assert "within the tolerance" in loose.stdout and "from step 1 of 3 on" in loose.stdout
    assert "items differ" in loose.stdout


def test_each_job_has_the_number_of_threads_that_it_had(study: Path, tmp_path: Path, monkeypatch) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    for path in (copy / "jobs").glob("*.json"):
        save_record(load_record(JobState, path).model_copy(update={"threads": 3}), path)
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    (name,) = (run_of(copy, "anchor-random").name,)
    assert repeat_run(copy, name, STUDY, 0.01).is_same
    assert seen == [3, torch.get_num_threads()]


@pytest.fixture
def copied(study: Path, tmp_path: Path) -> Path:
    """A copy of the study."""
    copy = tmp_path / "out"
    shutil.copytree(study, copy)
    return copy


def test_changed_data_is_named_before_anything_runs(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolwise.study.repeat.run_jobs", None)
    data = study.parent / "train.jsonl"
    before = data.read_bytes()
    data.write_bytes(b"".join(before.splitlines(keepends=True)[:-1]))
    try:
        with pytest.raises(DataError, match=r"was made with other inputs: training data .* fingerprint"):
            repeat_run(study, run_of(study, CELL).name, STUDY, 0.01)
    finally:
        data.write_bytes(before)


def test_a_damaged_or_unfinished_record_is_named(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolwise.study.repeat.run_jobs", None)
    run = run_of(copied, CELL)
    log = run / "training.jsonl"
    log.write_text(log.read_text().replace('"step":1', '"step":7'))
    with pytest.raises(EvalError, match=r"training\.jsonl has other contents"):
        repeat_run(copied, run.name, STUDY, 0.01)
    for state in (copied / "jobs").glob("eval-*.json"):
        state.write_text("{")
    with pytest.raises(EvalError, match=r"eval mean\+causal, seed 0 has not ended there, or its record is damaged"):
        repeat_run(copied, run.name, STUDY, 0.01)


def test_a_run_is_found_by_its_folder_or_by_how_its_name_begins(study: Path) -> None:
    name = run_of(study, CELL).name
    assert locate_run(study / "runs" / name) == (study, name)
    with pytest.raises(ConfigError, match=r"has 3 runs: anchor-random-.*give its folder, or --cell NAME"):
        locate_run(study)
    with pytest.raises(ConfigError, match=r"has no run max\+causal.*did you mean"):
        locate_run(study, "max+causal")
    with pytest.raises(ConfigError, match=r"nowhere does not exist; wanted STUDY/runs/NAME"):
        locate_run(study / "nowhere")
    with pytest.raises(ConfigError, match="is not a run of a study"):
        locate_run(study.parent)


def test_every_kind_of_difference_is_found(study: Path, tmp_path: Path) -> None:
    """Each record of a copied run is changed by hand, in the smallest way."""
    recorded, copy = run_of(study, CELL), tmp_path / "copy"
    shutil.copytree(recorded, copy)
    assert compare_run(recorded, copy).is_same
    steps = load_steps(copy / "training.jsonl")
    steps[1] = TrainingStep.model_validate(steps[1].model_dump() | {"loss": steps[1].loss + 1e-9})
    save_steps(steps, copy / "training.jsonl")
    (weights,) = copy.glob("model/**/*.safetensors")
    tensors = load_file(weights)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] += 0.5
    save_file(tensors, weights)
    path = next(copy.glob("items/*/*.json.gz"))
    scores = load_record(ItemScores, path)
    values = [scores.values[0] + 0.25, *scores.values[1:]]
    save_items(scores.model_copy(update={"values": values, "score": scores.score - 0.5}), copy)
    found = compare_run(recorded, copy)
    assert found.first_step is not None and (found.first_step.step, found.first_step.field) == (2, "loss")
    assert (found.weights.num_changed, found.weights.largest) == (1, pytest.approx(0.5))
    assert found.weights.num_tensors == len(tensors)
    (task,) = found.tasks
    assert (task.num_changed, task.largest_item) == (1, pytest.approx(0.25)) and task.amount == pytest.approx(0.5)
    shutil.rmtree(copy / "items")
    save_steps(steps[:1], copy / "training.jsonl")
    found = compare_run(recorded, copy)
    assert found.first_step is not None and (found.first_step.step, found.first_step.repeated) == (2, None)
    assert found.tasks[0].repeated is None and found.tasks[0].amount == float("inf")
