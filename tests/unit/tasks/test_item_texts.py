"""The texts of items on disk: what stands there for each kind of task, and texts that no report could show whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolwise.records import ItemTexts, load_record, texts_path
from poolwise.tasks import load_tasks, save_texts
from poolwise.tasks.item_texts import MAX_CHARACTERS, shortened
from unit.tasks.tiny import write_pairs, write_retrieval, write_suite


def saved(folder: Path, out: Path) -> dict[str, ItemTexts]:
    save_texts(load_tasks([str(folder)]), out)
    records = [load_record(ItemTexts, path) for path in (out / "texts").glob("*/*.json.gz")]
    return {record.task: record for record in records}


def test_every_kind_of_task_keeps_what_a_reader_needs(tmp_path: Path) -> None:
    found = saved(write_suite(tmp_path / "suite"), tmp_path / "out")
    second = {task: {part: texts[1] for part, texts in record.parts.items()} for task, record in found.items()}
    assert second == {
        "sts/tiny": {"first": "left 1", "second": "right 1", "gold score": "1.01"},
        "pair_classification/tiny": {"first": "one 1", "second": "two 1", "label": "1"},
        "classification/tiny": {"text": "test 1", "label": "label 1"},
        "clustering/tiny": {"text": "row 1", "label": "topic 1"},
        "reranking/tiny": {"query": "ask 1", "relevant": "good 1"},
        "retrieval/tiny": {"query": "query 1", "relevant": "title 1 body 1"},
    }


def test_the_most_relevant_document_stands_for_a_query(tmp_path: Path) -> None:
    corpus = {name: ("", f"text {name}") for name in "abc"}
    qrels = [("q", "a", 0), ("q", "b", 1), ("q", "c", 2)]
    found = saved(write_retrieval(tmp_path / "retrieval" / "t", corpus, {"q": "what"}, qrels), tmp_path / "out")
    assert found["retrieval/t"].parts == {"query": ["what"], "relevant": ["text c"]}


def test_the_same_task_gives_the_same_bytes(tmp_path: Path) -> None:
    tasks = load_tasks([str(write_suite(tmp_path / "suite"))])
    for name in ("one", "two", "two"):
        save_texts(tasks, tmp_path / name)
    for task in tasks:
        assert (
            texts_path(tmp_path / "one", task.name).read_bytes() == texts_path(tmp_path / "two", task.name).read_bytes()
        )
        record = load_record(ItemTexts, texts_path(tmp_path / "one", task.name))
        assert (record.fingerprint, record.ids) == (task.fingerprint, list(task.ids))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        (" two\n\tlines\u2028and \x00\x07 more ", "two lines and more"),
        ("x" * MAX_CHARACTERS, "x" * MAX_CHARACTERS),
        ("x" * (MAX_CHARACTERS + 1), "x" * (MAX_CHARACTERS - 1) + "\u2026"),
        ("\u05d0" * 100_000, "\u05d0" * (MAX_CHARACTERS - 1) + "\u2026"),
        (" " * 100_000 + "late", "\u2026"),
        ("half \ud83d a pair", "half ? a pair"),
        ("<b>&amp;</b>", "<b>&amp;</b>"),
    ],
)
def test_texts_are_one_short_line(text: str, kept: str) -> None:
    assert shortened(text) == kept


def test_a_text_of_100_kilobytes_takes_no_room(tmp_path: Path) -> None:
    rows = [(f"{number} " + "long " * 20_000, "short", number) for number in range(3)]
    found = saved(write_pairs(tmp_path / "sts" / "t", rows, "score"), tmp_path / "out")
    assert max(len(text) for text in found["sts/t"].parts["first"]) == MAX_CHARACTERS
    assert texts_path(tmp_path / "out", "sts/t").stat().st_size < 1000
