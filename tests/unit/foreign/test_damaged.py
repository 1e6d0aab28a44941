"""One damaged file in a folder of good ones: the others are used, and one note names the file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from poolwise.errors import EvalError
from poolwise.foreign import Inputs, compare_inputs, input_lines, read_inputs
from poolwise.records import ItemTexts, RunManifest, items_path, save_record, texts_path
from unit.foreign.files import write_json, write_text, write_v2
from unit.stats.designs.builders import values

RUN = ("q1 Q0 d2 1 3.0 t", "q1 Q0 d9 2 2.0 t", "q1 Q0 d1 3 1.0 t", "q2 Q0 d3 1 0.5 t")
RANKING = {"q1": {"d2": 3.0, "d9": 2.0}, "q2": {"d3": 1.0}}
META = {"model_name": "org/m", "revision": "abc"}


def results(folder: Path) -> Path:
    write_v2(folder, "SciFact", 0.6)
    return write_v2(folder, "NQ", 0.5)


def model_meta(folder: Path) -> Path:
    results(folder)
    return write_json(folder / "model_meta.json", {"name": "org/m"})


def models(folder: Path) -> Path:
    results(folder / "one")
    return write_v2(folder / "two", "NQ", 0.5)


def predictions(folder: Path) -> Path:
    for task in ("SciFact", "NQ"):
        write_json(folder / f"{task}_predictions.json", {"mteb_model_meta": META, "default": {"test": RANKING}})
    return folder / "NQ_predictions.json"


def predictions_beside_results(folder: Path) -> Path:
    results(folder)
    return write_json(folder / "STS12_predictions.json", {"mteb_model_meta": META, "default": {"test": {"q": [1.0]}}})


def results_beside_predictions(folder: Path) -> Path:
    predictions(folder)
    write_json(folder / "model_meta.json", {"name": "org/m"})
    return write_v2(folder, "STS12", 0.5)


def trec(folder: Path) -> Path:
    write_text(folder / "one.run", *RUN)
    return write_text(folder / "two.run", *RUN)


def packed_trec(folder: Path) -> Path:
    path = trec(folder)
    packed = path.with_suffix(".run.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return packed


def json_runs(folder: Path) -> Path:
    write_json(folder / "one.json", RANKING)
    return write_json(folder / "two.json", RANKING)


def our_run(folder: Path) -> Path:
    for name in ("a", "b"):
        run = folder / "runs" / name
        save_record(RunManifest(name=name, kind="external", model=name), run / "run.json")
        for task in ("one", "two"):
            save_record(values(task, [0.1, 0.2]), items_path(run, f"retrieval/{task}"))
    write_json(folder / "study.json", {"comparisons": ["reference"]})
    return folder / "runs" / "b" / "run.json"


def our_items(folder: Path) -> Path:
    return our_run(folder).with_name("items") / "retrieval" / "two.json.gz"


def our_texts(folder: Path) -> Path:
    our_run(folder)
    path = texts_path(folder, "retrieval/one")
    texts = ItemTexts(task="retrieval/one", fingerprint="f-one", ids=["i00000"], parts={"query": ["a"]})
    save_record(texts, path)
    return path


KINDS: list[Callable[[Path], Path]] = [
    results,
    model_meta,
    models,
    predictions,
    predictions_beside_results,
    results_beside_predictions,
    trec,
    packed_trec,
    json_runs,
    our_run,
    our_items,
    our_texts,
]
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda raw: raw[: len(raw) // 2 + 3],
    "cut at its start": lambda raw: raw[:8],
    "empty": lambda raw: b"",
    "a list": lambda raw: b"[1, 2]",
    "an empty object": lambda raw: b"{}",
    "nested too deep": lambda raw: b"[" * 200_000,
    "bytes": lambda raw: b"\x00\xff\xfe\x01" * 20,
    "a page": lambda raw: b"<html><body>404: not found</body></html>\n",
}


def read(folder: Path) -> tuple[Inputs, list[str]]:
    """Return what is read with the judgements of all tasks, and every note of the comparison."""
    tasks = ("one", "two", "SciFact", "NQ")
    qrels = [write_text(folder.parent / f"{task}.qrels", "q1 0 d2 1", "q2 0 d3 1") for task in tasks]
    inputs = read_inputs([folder], qrels)
    # Texts are not read before the comparison.
    has_texts = (folder / "texts").is_dir()
    return inputs, compare_inputs(inputs, [folder], num_resamples=100).notes if has_texts else inputs.notes


def scores(inputs: Inputs) -> dict[tuple[str, str], float]:
    return {(run.manifest.label, task): record.score for run in inputs.runs for task, record in run.scores.items()}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_others_are_used_and_one_note_names_it(
    tmp_path: Path, kind: Callable[[Path], Path], damage: Callable[[bytes], bytes]
) -> None:
    folder = tmp_path / "m"
    path = kind(folder)
    whole = scores(read(folder)[0])
    path.write_bytes(damage(path.read_bytes()))
    inputs, notes = read(folder)
    left = {task: score for (_, task), score in scores(inputs).items()}
    assert left and left.items() <= {task: score for (_, task), score in whole.items()}.items()
    assert sum(path.name in note for note in notes) == 1, notes


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_is_noted_of_good_files(tmp_path: Path, kind: Callable[[Path], Path]) -> None:
    path = kind(tmp_path / "m")
    _, notes = read(tmp_path / "m")
    assert not any("set aside" in note or path.name in note for note in notes)


@pytest.mark.parametrize(
    "kind", [results, predictions, results_beside_predictions, trec, packed_trec, json_runs, our_run]
)
def test_a_folder_without_a_good_file_names_all(tmp_path: Path, kind: Callable[[Path], Path]) -> None:
    folder = tmp_path / "m"
    kind(folder)
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "study.json"]
    for path in paths:
        path.write_bytes(path.read_bytes()[: 30 if path.suffix == ".run" else 12])
    with pytest.raises(EvalError) as error:
        read(folder)
    names = {path.name for path in paths if path.suffix == ".json" and path.name != "plan.json"}
    assert all(name in str(error.value) for name in names)


def test_the_plan_and_the_recipe_of_a_study_cannot_be_left_out(tmp_path: Path) -> None:
    our_run(tmp_path / "m")
    for name in ("study.json", "plan.json"):
        write_json(tmp_path / "m" / name, [])
        with pytest.raises(EvalError, match=name):
            read_inputs([tmp_path / "m"])
        (tmp_path / "m" / name).unlink()


def test_predictions_that_cannot_be_scored_do_not_stop_the_results_beside_them(tmp_path: Path) -> None:
    predictions_beside_results(tmp_path / "m")
    inputs = read_inputs([tmp_path / "m"])
    assert sorted(inputs.runs[0].scores) == ["retrieval/NQ", "retrieval/SciFact"]
    assert any("STS12" in note and "without the task's labels" in note for note in inputs.notes)
    assert any(line.endswith("MTEB predictions: nothing that can be compared") for line in input_lines(inputs))
