"""Task files as people have them: JSON lines, CSV and TSV, plain or gzipped, with columns of other names."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from poolwise.errors import DataError
from poolwise.records import CATEGORIES
from poolwise.tasks import load_tasks
from unit.tasks.tiny import write_rows, write_suite

FORMS = ["jsonl", "jsonl.gz", "csv", "csv.gz", "tsv", "tsv.gz"]


def problems_of(*names: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        load_tasks([str(name) for name in names])
    return str(caught.value)


def read(path: Path) -> list[dict[str, Any]]:
    raw = path.read_bytes()
    return [json.loads(line) for line in (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines()]


def write_form(path: Path, rows: Sequence[Mapping[str, Any]], form: str) -> None:
    """Write rows in a form; a list becomes one column a text."""
    target = path.parent / f"{path.name.split('.')[0]}.{form}"
    if form.startswith("jsonl"):
        write_rows(target, list(rows))
        return
    flat = []
    for row in rows:
        cells: dict[str, object] = {}
        for key, value in row.items():
            cells |= {f"{key}_{i}": text for i, text in enumerate(value)} if isinstance(value, list) else {key: value}
        flat.append(cells)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(flat[0]), delimiter="\t" if form.startswith("tsv") else ",")
    writer.writeheader()
    writer.writerows(flat)
    raw = text.getvalue().encode("utf-8-sig")
    target.write_bytes(gzip.compress(raw) if form.endswith(".gz") else raw)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_every_category_gives_the_same_tasks(tmp_path: Path, form: str) -> None:
    wanted = {task.name: task.fingerprint for task in load_tasks([str(write_suite(tmp_path / "a"))])}
    root = write_suite(tmp_path / "b")
    for path in [*root.rglob("*.jsonl.gz"), *root.rglob("*.jsonl")]:
        rows = read(path)
        path.unlink()
        write_form(path, rows, form)
    assert {task.name: task.fingerprint for task in load_tasks([str(root)])} == wanted
    assert len(wanted) == len(CATEGORIES)


NAMES = {
    "sts": {"sentence1": "a", "sentence2": "b", "score": "sim"},
    "pair_classification": {"sentence1": "a", "sentence2": "b", "label": "same"},
    "classification": {"text": "body", "label": "kind"},
    "clustering": {"text": "body", "label": "kind"},
    "reranking": {"query": "question", "positive": ["right"], "negative": ["wrong1", "wrong2", "wrong3"]},
    "retrieval": {"_id": "key", "text": "body", "title": "heading"},
}


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("category", CATEGORIES)
def test_columns_of_other_names(tmp_path: Path, category: str, form: str) -> None:
    (wanted,) = load_tasks([str(write_suite(tmp_path / "a") / category)])
    folder = write_suite(tmp_path / "b") / category / "tiny"
    for path in [*folder.glob("*.jsonl.gz"), *folder.glob("*.jsonl")]:
        rows = []
        for row in read(path):
            renamed: dict[str, Any] = {}
            for key, value in row.items():
                own = NAMES[category][key]
                renamed |= dict(zip(own, value, strict=True)) if isinstance(own, list) else {own: value}
            rows.append(renamed)
        path.unlink()
        write_form(path, rows, form)
    (folder / "task.yaml").write_text(json.dumps({"columns": NAMES[category]}))
    (task,) = load_tasks([str(folder)])
    assert task.fingerprint == wanted.fingerprint


def write_csv(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path.parent


def test_the_files_of_a_retrieval_task_may_have_names_of_their_own(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "retrieval" / "x" / "corpus.csv", "doc,body,title", "d1,east,", "d2,,north")
    write_csv(folder / "queries.csv", "qid,question", "q1,where")
    write_csv(folder / "qrels.tsv", "q1\td1\t1")
    columns = "columns: {corpus: {_id: doc, text: body}, queries: {_id: qid, text: question}}"
    (folder / "task.yaml").write_text(columns)
    (task,) = load_tasks([str(folder)])
    assert dict(task.texts()).keys() == {""} and [text for _, text in task.texts()] == ["where", "east", "north"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("{sentence3: a}", "columns names a field 'sentence3', but sts has no such field; did you mean 'sentence"),
        ("{sentence1: [a, b]}", "columns.sentence1 is ['a', 'b'], wanted a column name"),
        ("{sentence1: 3}", "sentence1 is 3, wanted a column name"),
        ("{sentence1: []}", "sentence1 is [], wanted a column name"),
        ("{corpus: {text: a}}", "columns.corpus names a file, but sts has no file corpus"),
        (
            "{sentence1: frist}",
            "test.csv has the columns first, second, score; `columns` names 'frist' as sentence1",
        ),
        ("{sentence1: frist}", "names 'frist' as sentence1 (did you mean 'first'?) and wanted 'sentence2'"),
        (
            "{sentence1: first}",
            "test.csv has the columns first, second, score; wanted 'sentence2'; correct `columns` in task.yaml",
        ),
    ],
)
def test_bad_columns(tmp_path: Path, columns: str, message: str) -> None:
    folder = write_csv(tmp_path / "sts" / "x" / "test.csv", "first,second,score", *["a,b,1"] * 30)
    (folder / "task.yaml").write_text(f"columns: {columns}\n")
    text = problems_of(folder)
    assert message in text
    assert text.count("test.csv") <= 1


def test_a_field_that_no_row_has_is_told_once(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "topic": "x"} for i in range(30)]
    folder = write_rows(tmp_path / "clustering" / "x" / "test.jsonl", rows).parent
    text = problems_of(folder)
    wanted = "has the fields text, topic; wanted 'label'; name the columns in task.yaml: columns: {label: NAME}"
    assert ": 1 problem(s)" in text and f"test.jsonl {wanted}" in text


def test_a_problem_of_every_row_is_told_once(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "sts" / "x" / "test.csv", "sentence1,sentence2,score", *["a,b,high"] * 30)
    assert "test.csv: in all 30 rows: 'score' is not a finite number: 'high'" in problems_of(folder)
    assert ": 1 problem(s)" in problems_of(folder)


def test_bad_documents_do_not_make_every_judgement_wrong(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "retrieval" / "x" / "corpus.csv", "doc,text", "d1,east", "d2,north")
    write_csv(folder / "queries.csv", "_id,text", "q1,where")
    write_csv(folder / "qrels.tsv", *[f"q1\td{i}\t1" for i in range(20)])
    assert ": 1 problem(s)" in problems_of(folder)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "'score' is empty"),
        ("1_000", "'score' is not a finite"),
        ("nan", "'score' is not a finite"),
        ("1,5", "4 cells"),
    ],
)
def test_bad_cells(tmp_path: Path, cell: str, message: str) -> None:
    folder = write_csv(tmp_path / "sts" / "x" / "test.csv", "sentence1,sentence2,score", "a,b,1", f"c,d,{cell}")
    assert f"test.csv:3: {message}" in problems_of(folder)


def test_a_file_in_two_forms_is_refused(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "clustering" / "x" / "test.csv", "text,label", "a,x", "b,y")
    write_rows(folder / "test.jsonl", [{"text": "a", "label": "x"}])
    assert "holds test.jsonl and test.csv; keep one of them" in problems_of(folder)


def test_a_folder_without_readable_files_says_what_it_found_and_what_it_expected(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "sts" / "pairs" / "test.csv2", "x")
    write_csv(folder / "train.txt", "x")
    wanted = (
        f"{folder}: no task in this folder: found test.csv2, train.txt; expected test.jsonl, test.csv or test.tsv, "
        "plain or .gz (retrieval: corpus..., queries... and qrels.tsv), or folders with tasks"
    )
    for place in (folder, folder.parent, tmp_path):
        assert wanted in problems_of(place) and ": 1 problem(s)" in problems_of(place)
    assert "found test.csv2, train.txt; expected dev.jsonl" in problems_of(f"{folder}@dev")
    # Beside tasks that can be read it is not passed over in silence.
    write_csv(tmp_path / "sts" / "good" / "test.csv", "sentence1,sentence2,score", "a,b,1", "c,d,2")
    write_csv(tmp_path / "notes" / "read.txt", "x")
    assert wanted in problems_of(tmp_path) and ": 1 problem(s)" in problems_of(tmp_path)


def test_a_table_that_is_no_task_makes_no_folder_a_task(tmp_path: Path) -> None:
    write_csv(tmp_path / "sts" / "good" / "test.csv", "sentence1,sentence2,score", "a,b,1", "c,d,2")
    write_csv(tmp_path / "sts" / "overview.csv", "name,rows", "good,2")
    assert [task.name for task in load_tasks([str(tmp_path / "sts")])] == ["sts/good"]
