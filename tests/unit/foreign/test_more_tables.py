"""Tables of scores in other shapes: wide, parquet, decimal commas, percent signs, other encodings."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from poolwise.errors import EvalError
from poolwise.foreign import Inputs, read_inputs
from unit.foreign.files import write_text


def found(inputs: Inputs) -> dict[str, dict[str, float]]:
    return {run.manifest.name: {task: record.score for task, record in run.scores.items()} for run in inputs.runs}


BOTH = {"A": {"retrieval/SciFact": 0.5, "sts/STS12": 0.7}, "B": {"retrieval/SciFact": 0.6, "sts/STS12": 0.8}}


def test_one_column_per_model(tmp_path: Path) -> None:
    path = write_text(tmp_path / "t.csv", "Task,A,B", "SciFact,.5,.6", "STS12,.7,.8", "Average,.6,.7")
    inputs = read_inputs([path])
    assert found(inputs) == BOTH
    assert inputs.sources[0].left_out == {"a summary of the other rows": ["Average"]}


def test_one_column_per_task(tmp_path: Path) -> None:
    path = write_text(tmp_path / "t.csv", "Model,Mean,SciFact,STS12", "A,.6,.5,.7", "B,.7,.6,.8")
    assert found(read_inputs([path])) == BOTH


def test_items_in_a_wide_table_are_one_task_named_by_the_file(tmp_path: Path) -> None:
    path = write_text(tmp_path / "SciFact.csv", "item,A,B", "q1,0.5,1", "q2,0.25,0")
    runs = read_inputs([path]).runs
    assert [run.scores["retrieval/SciFact"].values for run in runs] == [[0.5, 0.25], [1.0, 0.0]]
    assert runs[0].scores["retrieval/SciFact"].ids == ["q1", "q2"]


def test_an_empty_cell_of_a_wide_table_is_a_missing_task(tmp_path: Path) -> None:
    path = write_text(tmp_path / "t.csv", "task,A,B", "SciFact,.5,", "STS12,.7,.8")
    assert found(read_inputs([path]))["B"] == {"sts/STS12": 0.8}


def test_a_wide_table_with_a_column_of_words_names_the_line(tmp_path: Path) -> None:
    path = write_text(tmp_path / "t.csv", "task,A,Licence", "SciFact,.5,MIT")
    with pytest.raises(EvalError, match=r"t\.csv:2: score 'MIT'.*wanted numbers"):
        read_inputs([path])


def test_a_short_line_of_a_wide_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="2 fields, the header has 3"):
        read_inputs([write_text(tmp_path / "t.csv", "task,A,B", "SciFact,.5")])


@pytest.mark.parametrize("score", ["63,4 %", "63,4\u00a0%", "63.4%", "0,634", ".634"])
def test_decimal_commas_and_percent_signs(tmp_path: Path, score: str) -> None:
    path = write_text(tmp_path / "t.csv", "model;task;score", f"A;SciFact;{score}")
    assert found(read_inputs([path])) == {"A": {"retrieval/SciFact": 0.634}}


@pytest.mark.parametrize("score", ["1.234,5", "1,234,5", "%", "6_3", "nan%"])
def test_other_numbers_are_errors(tmp_path: Path, score: str) -> None:
    with pytest.raises(EvalError, match=r"wanted numbers|NaN"):
        read_inputs([write_text(tmp_path / "t.csv", "model;task;score", f"A;SciFact;{score}")])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16(tmp_path: Path, encoding: str) -> None:
    text = "model,task,score\nÄ,SciFact,0.5\n"
    mark = "" if encoding == "utf-16" else "\ufeff"
    (tmp_path / "t.csv").write_bytes((mark + text).encode(encoding))
    assert found(read_inputs([tmp_path / "t.csv"])) == {"Ä": {"retrieval/SciFact": 0.5}}


def test_latin_1_is_read_and_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("model,task,score\nÄ,SciFact,0.5\n".encode("latin-1"))
    inputs = read_inputs([tmp_path / "t.csv"])
    assert list(found(inputs)) == ["Ä"]
    assert any("read as latin-1" in note for note in inputs.notes)


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"model,task,score\n\x00\xff\x01,SciFact,0.5\n")
    with pytest.raises(EvalError, match="is not text"):
        read_inputs([tmp_path / "t.csv"])


@pytest.mark.parametrize(
    "columns",
    [
        {"model": ["A", "B"] * 2, "task": ["SciFact"] * 2 + ["STS12"] * 2, "score": [0.5, 0.6, 0.7, 0.8]},
        {"task": ["SciFact", "STS12"], "A": [0.5, 0.7], "B": [0.6, 0.8], "__index_level_0__": [0, 1]},
    ],
    ids=["long", "wide"],
)
def test_parquet(tmp_path: Path, columns: dict[str, list[object]]) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    assert found(read_inputs([tmp_path / "t.parquet"])) == BOTH


def test_parquet_without_the_columns_is_an_error(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(EvalError, match=r"t\.parquet has no column model, task, score: it has text"):
        read_inputs([tmp_path / "t.parquet"])
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(EvalError, match=r"cut\.parquet"):
        read_inputs([tmp_path / "cut.parquet"])
