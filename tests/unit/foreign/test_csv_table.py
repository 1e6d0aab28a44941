"""A table of scores: what it may hold, and that a broken one is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolwise.errors import EvalError
from poolwise.foreign import read_inputs
from unit.foreign.files import write_text, write_v2

HEAD = "model,task,item,score"


def table(folder: Path, *lines: str, head: str = HEAD) -> Path:
    return write_text(folder / "scores.csv", head, *lines)


def test_items_are_averaged_and_grouped_by_model_and_seed(tmp_path: Path) -> None:
    head = "model;task;item;score;seed;group;category;metric"
    rows = [
        f"{model};qa;{item};{score};{seed};g{item};retrieval;mrr"
        for model, seed, scores in (("a", 1, (1.0, 0.5)), ("a", 2, (0.0, 0.5)), ("b", 1, (0.25, 0.75)))
        for item, score in enumerate(scores)
    ]
    runs = read_inputs([table(tmp_path, *rows, head=head)]).runs
    assert [(run.manifest.name, run.manifest.seed) for run in runs] == [("a", 1), ("a", 2), ("b", 1)]
    record = runs[0].scores["retrieval/qa"]
    assert (record.score, record.ids, record.values, record.group) == (0.75, ["0", "1"], [1.0, 0.5], ["g0", "g1"])
    assert record.metric == "mrr"


def test_a_score_a_task_without_items(tmp_path: Path) -> None:
    (run,) = read_inputs([table(tmp_path, "a,sts/STS12,,0.5", "a,SciFact,,0.25")]).runs
    assert {task: (record.score, record.ids) for task, record in run.scores.items()} == {
        "sts/STS12": (0.5, []),
        "retrieval/SciFact": (0.25, []),
    }


def test_no_category_is_said(tmp_path: Path) -> None:
    inputs = read_inputs([table(tmp_path, "a,mine,1,0.5", "a,mine,2,0.25")])
    assert list(inputs.runs[0].scores) == ["classification/mine"]
    assert any("no category given" in note for note in inputs.notes)


def test_a_column_of_no_meaning_is_named(tmp_path: Path) -> None:
    inputs = read_inputs([table(tmp_path, "a,SciFact,1,0.5,x", head=f"{HEAD},colour")])
    assert inputs.sources[0].left_out == {"columns that are not used": ["colour"]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("a,SciFact,1,nan",), "NaN or infinite"),
        (("a,SciFact,1,inf",), "NaN or infinite"),
        (("a,SciFact,1,x",), "wanted numbers"),
        (("a,SciFact,1,0.5", "a,SciFact,1,0.5"), "item '1' again"),
        (("a,SciFact,,0.5", "a,SciFact,,0.5"), "again"),
        (("a,SciFact,1,0.5", "a,SciFact,2"), r"scores\.csv:3: 3 fields"),
        (("a,SciFact,1,0.5", "a,SciFact,,0.5"), "with and without an item"),
        (("a,STS12,1,0.5",), "not a mean over items"),
        (("a,,1,0.5",), "task is empty"),
        (("a,SciFact,1,0.5", "b,SciFact,1,50"), "scales are mixed"),
        (("a,SciFact,1,1e308",), "too large"),
        ((), "no rows"),
    ],
)
def test_broken_tables(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(EvalError, match=message):
        read_inputs([table(tmp_path, *lines)])


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        ("category", ("retrieval", "reranking"), "more than one category"),
        ("metric", ("mrr", "map"), "more than one metric"),
        ("group", ("g", ""), "with and without a group"),
        ("category", ("retreival", "retreival"), "did you mean 'retrieval'"),
        ("seed", ("0", "one"), "wanted numbers"),
    ],
)
def test_contradictions(tmp_path: Path, column: str, cells: tuple[str, str], message: str) -> None:
    lines = [f"a,SciFact,{item},0.5,{cell}" for item, cell in enumerate(cells)]
    with pytest.raises(EvalError, match=message):
        read_inputs([table(tmp_path, *lines, head=f"{HEAD},{column}")])


def test_a_table_without_a_last_line_break_is_doubted(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(f"{HEAD}\na,SciFact,1,0.5\na,SciFact,2,0.")
    assert any("truncated" in note for note in read_inputs([path]).notes)


def test_a_quote_that_is_never_closed_swallows_no_rows(tmp_path: Path) -> None:
    lines = ["a,SciFact,1,0.5,g1", "b,SciFact,1,0.4,g1", 'a,NQ,1,0.5,"g1', "b,NQ,1,0.4,g1"]
    with pytest.raises(EvalError, match="closed quotes"):
        read_inputs([table(tmp_path, *lines, head=f"{HEAD},group")])


def test_a_field_longer_than_a_csv_field_may_be(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="field larger than"):
        read_inputs([table(tmp_path, f"a,SciFact,{'x' * 200_000},0.5")])


def test_a_table_beside_mteb_files(tmp_path: Path) -> None:
    write_v2(tmp_path / "m", "SciFact", 0.6)
    inputs = read_inputs([tmp_path / "m", table(tmp_path, "a,SciFact,,0.5")])
    assert len({run.scores["retrieval/SciFact"].fingerprint for run in inputs.runs}) == 1
    assert any("cannot check that all models" in note for note in inputs.notes)


def test_parts_of_one_model_are_put_together(tmp_path: Path) -> None:
    write_v2(tmp_path / "m", "SciFact", 0.6)
    inputs = read_inputs([tmp_path / "m", table(tmp_path, "m,NQ,,0.5")])
    (run,) = inputs.runs
    assert list(run.scores) == ["retrieval/NQ", "retrieval/SciFact"]
    assert any("parts of one model" in note and "scores.csv" in note for note in inputs.notes)
    assert len(read_inputs([tmp_path / "m", table(tmp_path, "m,SciFact,,0.5")]).runs) == 2


@pytest.mark.parametrize("text", ["", "hello world\n", "{}\n"])
def test_a_file_of_no_known_kind(tmp_path: Path, text: str) -> None:
    (tmp_path / "what.txt").write_text(text)
    with pytest.raises(EvalError, match="unknown kind of input"):
        read_inputs([tmp_path / "what.txt"])


def test_tasks_of_another_metric_are_not_averaged_with_the_usual_one(tmp_path: Path) -> None:
    lines = ["a,NQ,0.5,retrieval,", "a,mine,0.4,retrieval,mrr_at_10", "a,Core17InstructionRetrieval,-0.02,,"]
    table = write_text(tmp_path / "s.csv", "model,task,score,category,metric", *lines)
    inputs = read_inputs([table])
    assert list(inputs.runs[0].scores) == ["retrieval/NQ"]
    why = "which cannot be averaged with ndcg_at_10"
    assert f"retrieval/mine is left out: its metric is mrr_at_10, {why}" in inputs.notes
    assert f"retrieval/Core17InstructionRetrieval is left out: its metric is p-MRR, {why}" in inputs.notes
    # On their own they are compared by their own metric.
    alone = read_inputs([write_text(tmp_path / "t.csv", "model,task,score,category,metric", *lines[2:])])
    assert [record.metric for record in alone.runs[0].scores.values()] == ["p-MRR"]


def test_tasks_without_a_known_metric_stay_beside_classification(tmp_path: Path) -> None:
    lines = ("a,Banking77Classification,0.5", "a,mine,0.4")
    inputs = read_inputs([write_text(tmp_path / "s.csv", "model,task,score", *lines)])
    assert list(inputs.runs[0].scores) == ["classification/Banking77Classification", "classification/mine"]


@pytest.mark.parametrize("score", ["1e-99999999999999999999%", "1e9999999999999999999%", "nan%", "%"])
def test_a_percentage_beyond_all_numbers_is_a_bad_line(tmp_path: Path, score: str) -> None:
    with pytest.raises(EvalError, match="score"):
        read_inputs([table(tmp_path, f"a,t,1,{score}", "a,t,2,0.5")])
