"""Every kind of folder: whole, then with a file damaged, missing or added, which the check names with the repair."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import ab_folder
import search_folder
from poolwise.cli.main import app
from poolwise.corpus.manifest import SHARDS
from poolwise.errors import ConfigError
from poolwise.export import check as export_check
from poolwise.integrity import verify_folder
from poolwise.integrity.kinds import KINDS
from poolwise.jobs.state import restore_checksums
from poolwise.models import build_model
from poolwise.storage.checksums import save_checksums
from tiny_models import save_tiny_base
from toy_training import StopError, stop_at, toy_config, toy_model, toy_train


def make_corpus(place: Path) -> Path:
    return search_folder.write_corpus(place, 12)


def make_index(place: Path) -> Path:
    search_folder.build(place, 12).close()
    return place / "index"


def make_experiment(place: Path) -> Path:
    ab_folder.run_traffic(ab_folder.begun(place / "ab"), {"A": 0.5, "B": 0.5}, users=8)
    return place / "ab"


def make_model(place: Path) -> Path:
    build_model("mean+causal", save_tiny_base(place / "base", "gpt2"), method="lora", max_tokens=24).save(
        str(place / "model")
    )
    return place / "model"


def make_checkpoints(place: Path) -> Path:
    config = toy_config(steps=4)
    model = toy_model("mean+causal", save_tiny_base(place / "base", "gpt2"), config)
    with pytest.raises(StopError):
        toy_train(model, config, place / "run", on_step=stop_at(3))
    return place / "run" / "checkpoints"


MAKERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "encoded corpus": (make_corpus, f"{SHARDS}/*"),
    "index": (make_index, "vectors.npy"),
    "saved model": (make_model, "adapter_model.safetensors"),
    "checkpoints": (make_checkpoints, "*/optimizer.pt"),
}


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp("made")) for name, (make, _) in MAKERS.items()}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_damaged_or_missing_file_is_named_and_a_whole_folder_is_whole(
    kind: str, made: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / made[kind].parent.name / made[kind].name
    shutil.copytree(made[kind].parent, copy.parent)
    found = verify_folder(copy)
    assert (found.kind, found.damaged, found.unlisted, found.repair) == (kind, {}, [], "")
    assert found.num_checked > 0
    victim = next(iter(sorted(copy.glob(MAKERS[kind][1]))))
    name = victim.relative_to(copy).as_posix()
    flip(victim)
    assert verify_folder(copy).damaged == {name: "has other contents than when it was written"}
    victim.unlink()
    found = verify_folder(copy)
    assert found.damaged == {name: "is missing"} and found.repair
    (copy / "extra").mkdir()
    (copy / "extra" / "notes.txt").write_text("mine")
    assert verify_folder(copy).unlisted == ([] if kind == "checkpoints" else ["extra/"])


def test_a_record_that_was_changed_is_damaged(made: dict[str, Path], tmp_path: Path) -> None:
    for kind, record, number in (("encoded corpus", "manifest.json", 12), ("index", "index.json", 12)):
        copy = shutil.copytree(made[kind], tmp_path / kind)
        path = copy / record
        path.write_text(path.read_text().replace(f'"num_rows": {number}', f'"num_rows": {number + 1}'))
        assert verify_folder(copy).damaged == {record: "has other contents than when it was written"}
    model = shutil.copytree(made["saved model"], tmp_path / "model")
    (model / "checksums.json").write_text("[]")
    assert verify_folder(model).damaged == {"checksums.json": "is damaged, so no file can be compared with it"}
    (model / "checksums.json").unlink()
    found = verify_folder(model)
    assert not found.damaged and not found.unlisted and "cannot be checked" in found.notes[0]


def test_an_experiment(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path)
    assert verify_folder(folder).damaged == {}
    lines = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:-20] + b"\n"
    (folder / "events.jsonl").write_bytes(b"".join(lines))
    found = verify_folder(folder)
    assert list(found.damaged) == ["events.jsonl:3"] and "cut or changed" in found.damaged["events.jsonl:3"]
    design = folder / "design.yaml"
    design.write_text(design.read_text().replace("min_users: 50", "min_users: 5"))
    assert "was changed after the first event" in verify_folder(folder).damaged["design.yaml"]


def test_a_study_names_damaged_missing_and_unlisted_files(toy_study: Path, tmp_path: Path) -> None:
    found = verify_folder(toy_study)
    assert (found.kind, found.damaged, found.unlisted, found.notes) == ("study", {}, [], [])
    copy = shutil.copytree(toy_study, tmp_path / "copy")
    run = next((copy / "runs").glob("mean*"))
    assert verify_folder(run).model_dump(include={"kind", "damaged", "unlisted"}) == {
        "kind": "run",
        "damaged": {},
        "unlisted": [],
    }
    weights, items = run / "model" / "adapter_model.safetensors", next(run.glob("items/*/*.gz"))
    flip(weights)
    items.unlink()
    state = next((copy / "jobs").glob("anchor-*.json"))
    state.write_text("{")
    (copy / "study.json").write_text((copy / "study.json").read_text() + " ")
    manifest = next((copy / "runs").glob("last*")) / "run.json"
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))
    shutil.copytree(run, copy / "runs" / "older")
    flip(copy / "report.html")
    found = verify_folder(copy)
    assert set(found.damaged) == {
        *(path.relative_to(copy).as_posix() for path in (weights, items, state, copy / "study.json", manifest)),
        "report.html",
    }
    # Of the baseline, whose record is gone, nothing is listed.
    assert found.unlisted == [f"runs/{next((copy / 'runs').glob('anchor*')).name}/", "runs/older/"]
    assert set(verify_folder(run).damaged) == {
        "model/adapter_model.safetensors",
        items.relative_to(run).as_posix(),
    }


def test_the_repair_of_a_study_without_its_recipe_is_one_that_works(toy_study: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(toy_study, tmp_path / "copy")
    (copy / "study.json").write_text("{}")
    assert verify_folder(copy).repair.startswith("delete study.json, then run the same command again")
    (copy / "study.json").unlink()
    assert verify_folder(copy).repair.startswith("run the same command again")


def test_the_command_prints_what_is_damaged_and_how_to_repair_it(made: dict[str, Path], tmp_path: Path) -> None:
    index = shutil.copytree(made["index"], tmp_path / "index")
    whole = CliRunner().invoke(app, ["verify", str(index)])
    assert whole.exit_code == 0 and "none is damaged or missing" in whole.stdout
    flip(index / "rows.arrow")
    damaged = CliRunner().invoke(app, ["verify", str(index)])
    assert damaged.exit_code == 1
    assert "damaged: rows.arrow has other contents" in damaged.stdout
    assert "to repair: build the index again: poolwise index " in damaged.stdout
    as_json = json.loads(CliRunner().invoke(app, ["verify", str(index), "--json"]).stdout)
    assert list(as_json["damaged"]) == ["rows.arrow"] and as_json["kind"] == "index"


def test_an_export_with_a_damaged_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the process that computes its embeddings: what is left is the comparison of its files."""
    (tmp_path / "golden.json").write_text("{}")
    (tmp_path / "model.onnx").write_bytes(b"weights")
    np.save(tmp_path / "golden.npy", np.zeros((1, 2)))
    save_checksums(tmp_path)
    (tmp_path / "README.md").write_text("# about")
    ran = []
    monkeypatch.setattr("poolwise.export.verify_export", lambda folder: ran.append(folder) or Checked())
    assert verify_folder(tmp_path).damaged == {} and ran == [tmp_path]
    flip(tmp_path / "model.onnx")
    assert list(verify_folder(tmp_path).damaged) == ["model.onnx"] and ran == [tmp_path]


class Checked(export_check.Checked):
    def __init__(self) -> None:
        pass

    words, facts = "equal", {}  # type: ignore[assignment]


def test_a_folder_of_no_kind_is_refused_with_the_kinds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder that poolwise wrote") as refused:
        verify_folder(tmp_path)
    assert all(kind.name in str(refused.value) for kind in KINDS)
    with pytest.raises(ConfigError, match="is no folder"):
        verify_folder(tmp_path / "nowhere")


def test_a_finished_study_names_what_stands_beside_its_models_and_its_own_records(
    toy_study: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(toy_study, tmp_path / "copy")
    first, second = (next((copy / "runs").glob(f"{name}*")) / "model" for name in ("mean", "last"))
    (first / "checksums.json").unlink()
    (second / "checksums.json").write_text((second / "checksums.json").read_text().replace(":", ":0", 1))
    (first / "README.md").unlink()
    (second / "card.yaml").write_text("[")
    state = next((copy / "jobs").glob("train-*.json"))
    state.unlink()
    found = verify_folder(copy)
    named = {
        first / "checksums.json": "is missing",
        second / "checksums.json": "has other contents than when it was written",
        first / "README.md": "is missing",
        second / "card.yaml": "does not hold the facts of a model card",
        state: "is missing",
    }
    # Of the training whose record is gone, nothing else can be compared.
    run = next(path.name for path in (copy / "runs").iterdir() if path.name.endswith(state.stem.split("-")[1][:8]))
    expected = {path: words for path, words in named.items() if run not in path.parts}
    assert {copy / name: words for name, words in found.damaged.items()} == expected
    assert CliRunner().invoke(app, ["verify", str(copy)]).exit_code == 1
    shutil.copy(toy_study / state.relative_to(copy), state)
    restore_checksums(copy)
    assert [path.name for path in (copy / name for name in verify_folder(copy).damaged)] == ["card.yaml", "README.md"]


def test_the_card_of_a_model_may_be_edited(toy_study: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(toy_study, tmp_path / "copy")
    model = next((copy / "runs").glob("mean*")) / "model"
    (model / "README.md").write_text("# Mine")
    (model / "card.yaml").write_text((model / "card.yaml").read_text() + "# mine\n")
    assert verify_folder(copy).damaged == {}


def test_a_finished_study_without_its_checksums_is_damaged(toy_study: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(toy_study, tmp_path / "copy")
    (copy / "checksums.json").unlink()
    found = verify_folder(copy)
    assert found.damaged == {"checksums.json": "is missing"} and found.repair.startswith("run the same command again")
    (copy / "results.json").unlink()
    unfinished = verify_folder(copy)
    assert not unfinished.damaged and "is not finished" in unfinished.notes[0]
