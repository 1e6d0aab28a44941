"""A base in a GGUF file, in the records: the manifest of a run, fingerprints of a study, the facts of its report."""

from __future__ import annotations

from pathlib import Path

import pytest

import toys
from poolwise.report.provenance import study_facts
from poolwise.study.collect import _base_facts
from poolwise.study.inputs import base_hash
from poolwise.study.single_training import build_single_run, train_single
from tiny_gguf import Q8_0, plain_model, write_gguf
from unit.report.synthetic import build_study


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POOLWISE_CACHE", str(tmp_path / "cache"))
    return write_gguf(tmp_path / "tiny.gguf", plain_model(tmp_path / "plain"), kind=Q8_0)


ORIGIN = "tiny.gguf (Q8_0, dequantised to fp32)"


def test_the_manifest_names_the_file(file: Path, tmp_path: Path) -> None:
    toys.write_training(tmp_path / "train.jsonl")
    settings = ["batch_size=4", "max_tokens=24"]
    run = build_single_run("mean+causal", str(file), [str(tmp_path / "train.jsonl")], 1, 0, None, settings)
    manifest = train_single(run, tmp_path / "out", lambda *_: None)
    assert manifest.notes == [f"on the base {ORIGIN}"]
    assert manifest.training["base"] == str(file)
    assert f"- **Base:** `tiny.gguf`, from {ORIGIN}: " in (tmp_path / "out" / "model" / "README.md").read_text()


def test_a_study_is_of_the_file(file: Path, tmp_path: Path) -> None:
    assert _base_facts(str(file)) == {"base file": ORIGIN}
    assert _base_facts("poolwise/nano") == {}
    assert base_hash(str(file)) == base_hash(str(file.rename(tmp_path / "renamed.gguf")))


def test_the_report_says_what_the_base_was() -> None:
    study = build_study()
    plain = dict(study_facts(study))
    found = {**study.results.data_fingerprints, "base file": ORIGIN}
    facts = dict(
        study_facts(study.model_copy(update={"results": study.results.model_copy(update={"data_fingerprints": found})}))
    )
    assert facts["Base"] == f"{plain['Base']}: {ORIGIN}"
    assert facts["Training data"] == plain["Training data"]
