"""Records: written whole, read strictly, refused when cut or misaligned."""

import gzip
from pathlib import Path

import pytest
from pydantic import ValidationError

from poolwise.errors import EvalError
from poolwise.records import (
    ItemScores,
    ItemTexts,
    RunManifest,
    TrainingStep,
    append_steps,
    items_path,
    iter_run_folders,
    load_record,
    load_run,
    load_steps,
    load_texts,
    save_record,
    texts_path,
)


def scores(task: str = "sts/toy", **changes: object) -> ItemScores:
    fields = {
        "task": task,
        "category": task.split("/")[0],
        "metric": "cosine_spearman",
        "score": 0.5,
        "num_total": 3,
        "fingerprint": "f",
        "ids": ["0", "1", "2"],
        "values": [0.1, 0.2, 0.3],
    }
    return ItemScores.model_validate(fields | changes)


def texts(task: str = "sts/toy", **changes: object) -> ItemTexts:
    fields = {"task": task, "fingerprint": "f", "ids": ["0", "1"], "parts": {"query": ["a", "b"]}}
    return ItemTexts.model_validate(fields | changes)


def test_texts_that_do_not_fit_the_ids_are_refused() -> None:
    with pytest.raises(ValidationError, match="2 ids but query 1"):
        texts(parts={"query": ["a"]})


@pytest.mark.parametrize("asked", ["study", "study/runs/one", "loose", "loose/two"])
def test_texts_are_found_for_a_study_its_runs_and_single_runs(tmp_path: Path, asked: str) -> None:
    manifest = RunManifest(name="m", kind="external", model="m")
    for run, home in (("study/runs/one", "study"), ("loose/two", "loose/two")):
        save_record(manifest, tmp_path / run / "run.json")
        save_record(texts(fingerprint=home), texts_path(tmp_path / home, "sts/toy"))
    assert [record.fingerprint for record in load_texts(tmp_path / asked)] == [
        "study" if asked.startswith("study") else "loose/two"
    ]


def test_a_folder_without_runs_is_not_ours_and_has_no_texts(tmp_path: Path) -> None:
    foreign = tmp_path / "texts" / "a" / "b.json.gz"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"not ours")
    assert load_texts(tmp_path) == []


def step(number: int, loss: float) -> TrainingStep:
    return TrainingStep(step=number, loss=loss, learning_rate=0.1, tokens=5, seconds=0.1, negatives=3)


def test_scores_survive_the_disk_bit_for_bit(tmp_path: Path) -> None:
    record = scores(values=[0.1 + 0.2, 1 / 3, 1e-17])
    save_record(record, tmp_path / "a.json.gz")
    save_record(record, tmp_path / "b.json.gz")
    assert load_record(ItemScores, tmp_path / "a.json.gz") == record
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    "changes",
    [
        {"values": [0.1]},
        {"ids": ["0", "1", "1"]},
        {"gold": [1.0]},
        {"assignments": [[1, 2]]},
        {"score": float("nan")},
        {"values": [0.1, float("inf"), 0.2]},
        {"surprise": 1},
    ],
)
def test_inconsistent_scores_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        scores(**changes)


def test_a_file_cut_in_the_middle_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "items.json.gz"
    save_record(scores(), path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(EvalError, match="cannot read"):
        load_record(ItemScores, path)
    path.write_bytes(gzip.compress(b'{"task": "sts/toy"'))
    with pytest.raises(EvalError, match="ItemScores"):
        load_record(ItemScores, path)
    with pytest.raises(EvalError, match="cannot read"):
        load_record(ItemScores, tmp_path / "missing.json")


def test_a_file_changed_in_the_middle_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "items.json.gz"
    save_record(scores(), path)
    raw = bytearray(path.read_bytes())
    raw[20:24] = bytes(255 - byte for byte in raw[20:24])
    path.write_bytes(bytes(raw))
    with pytest.raises(EvalError, match="cannot read"):
        load_record(ItemScores, path)


def test_run_folders_are_found_in_a_run_a_study_and_a_folder(tmp_path: Path) -> None:
    for name in ("b", "a"):
        run = tmp_path / "study" / "runs" / name
        save_record(RunManifest(name=name, kind="trained", model="m"), run / "run.json")
        save_record(scores("sts/toy"), items_path(run, "sts/toy"))
    names = [path.name for path in iter_run_folders(tmp_path / "study")]
    assert names == ["a", "b"]
    assert [path.name for path in iter_run_folders(tmp_path / "study" / "runs")] == ["a", "b"]
    assert [path.name for path in iter_run_folders(tmp_path / "study" / "runs" / "a")] == ["a"]
    assert list(load_run(tmp_path / "study" / "runs" / "a").scores) == ["sts/toy"]


def test_a_study_lists_its_own_runs_only(tmp_path: Path) -> None:
    for name in ("old", "new"):
        save_record(RunManifest(name=name, kind="trained", model="m"), tmp_path / "runs" / name / "run.json")
    (tmp_path / "plan.json").write_text('{"runs": ["new", "unfinished"], "jobs": []}')
    assert [path.name for path in iter_run_folders(tmp_path)] == ["new"]


def test_steps_logged_twice_count_once_with_the_later_line(tmp_path: Path) -> None:
    path = tmp_path / "training.jsonl"
    append_steps([step(1, 0.5), step(2, 0.4)], path)
    append_steps([step(2, 0.3)], path)
    assert [(row.step, row.loss) for row in load_steps(path)] == [(1, 0.5), (2, 0.3)]


def test_a_line_that_a_crash_cut_is_no_step_and_any_other_bad_line_an_error(tmp_path: Path) -> None:
    path = tmp_path / "training.jsonl"
    append_steps([step(1, 0.5)], path)
    with path.open("a") as file:
        file.write('{"step": 2, "lo')
    assert [row.step for row in load_steps(path)] == [1]
    path.write_text("what\n" + path.read_text())
    with pytest.raises(EvalError, match="not a training step"):
        load_steps(path)


@pytest.mark.parametrize(
    "text", ['{"runs": ["a"', "[]", "{}", '{"runs": 3}', '{"runs": ["a", null]}', '{"runs": "ab"}', "[" * 100_000]
)
def test_a_damaged_plan_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(EvalError, match=r"cannot read .*plan\.json"):
        list(iter_run_folders(tmp_path))
