"""Runs and judgements in the JSON of ranx and ir_measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolwise.errors import EvalError
from poolwise.foreign import read_inputs
from unit.foreign.files import write_json, write_text

QRELS = ("q1 0 d1 1", "q2 0 d2 1")
RUN = {"q1": {"d1": 2, "d9": 1.0}, "q2": {}}


def test_a_json_run_is_scored_like_a_trec_run(tmp_path: Path) -> None:
    qrels = write_text(tmp_path / "qrels" / "nano.txt", *QRELS)
    run = write_json(tmp_path / "bm25.json", RUN)
    trec = write_text(tmp_path / "same.txt", "q1 Q0 d1 1 2 t", "q1 Q0 d9 2 1 t")
    first, second = read_inputs([run, trec], [qrels]).runs
    assert (first.manifest.name, first.scores["retrieval/nano"].values) == ("bm25", [1.0, 0.0])
    assert first.scores == second.scores


def test_judgements_in_json(tmp_path: Path) -> None:
    qrels = write_json(tmp_path / "qrels" / "nano.json", {"q1": {"d1": 1}, "q2": {"d2": 1}})
    (run,) = read_inputs([write_json(tmp_path / "bm25.json", RUN)], [qrels]).runs
    assert run.scores["retrieval/nano"].score == 0.5
    write_json(qrels, {"q1": {"d1": 0.5}})
    with pytest.raises(EvalError, match=r"grade 0\.5"):
        read_inputs([tmp_path / "bm25.json"], [qrels])


def test_a_folder_of_json_runs_of_which_one_is_cut(tmp_path: Path) -> None:
    qrels = write_text(tmp_path / "qrels" / "nano.txt", *QRELS)
    write_json(tmp_path / "m" / "nano.json", RUN)
    (tmp_path / "m" / "other.json").write_text('{"q1": {"d1"')
    inputs = read_inputs([tmp_path / "m"], [qrels])
    assert [run.manifest.name for run in inputs.runs] == ["m"]
    assert any("is set aside" in note and "other.json is not JSON" in note for note in inputs.notes)


def test_a_folder_of_trec_runs_of_which_one_is_cut(tmp_path: Path) -> None:
    qrels = write_text(tmp_path / "qrels" / "nano.txt", *QRELS)
    write_text(tmp_path / "m" / "nano.txt", "q1 Q0 d1 1 2 t")
    write_text(tmp_path / "m" / "other.txt", "q1 Q0 d1 1 2 t", "q1 Q0 d2")
    inputs = read_inputs([tmp_path / "m"], [qrels])
    assert list(inputs.runs[0].scores) == ["retrieval/nano"]
    assert any("is set aside" in note and "other.txt" in note for note in inputs.notes)


def test_a_json_file_that_is_neither_run_nor_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="unknown kind of input"):
        read_inputs([write_json(tmp_path / "x.json", {"q1": {"d1": "high"}})])
    qrels = write_text(tmp_path / "qrels" / "nano.txt", *QRELS)
    with pytest.raises(EvalError, match="not finite"):
        read_inputs([write_json(tmp_path / "y.json", {"q1": {"d1": float("inf")}})], [qrels])
