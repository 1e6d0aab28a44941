"""BM25 finds the words of the query, and is silent where there is nothing to search."""

from __future__ import annotations

from math import log
from pathlib import Path

import pytest

from poolwise.tasks import evaluate_bm25, load_tasks
from poolwise.tasks.bm25 import BM25Search
from unit.tasks.tiny import write_retrieval, write_rows, write_suite


def test_retrieval_by_shared_words(tmp_path: Path) -> None:
    folder = write_retrieval(
        tmp_path / "retrieval" / "x",
        {"a": ("apple", "pie crust"), "b": ("", "pear tart"), "c": ("", "engine")},
        {"q1": "an apple recipe", "q2": "something unheard", "q3": "apple engine"},
        [("q1", "a", 1), ("q2", "b", 1), ("q3", "b", 1)],
    )
    (task,) = load_tasks([str(folder)])
    record = evaluate_bm25(task)
    assert record is not None
    # Found by its title; no common word, so no answer; answers that are not relevant.
    assert record.values == [1.0, 0.0, 0.0]


def test_the_weight_is_lucenes() -> None:
    search = BM25Search()
    search.index({"id": ["a", "b"], "title": ["", ""], "text": ["apple pie", "pear pie"]})
    found = search.search({"id": ["q"], "text": ["apple"]}, top_k=10)
    # idf = ln(1 + (2 - 1 + 0.5) / (1 + 0.5)); both documents are of average length, so tf = 1 / (1 + k1).
    assert found == {"q": {"a": pytest.approx(log(2) / 2.5)}}


def test_no_query_answered_at_all(tmp_path: Path) -> None:
    corpus, queries = {"a": ("", "apple"), "b": ("", "pear")}, {"q": "engine"}
    (task,) = load_tasks([str(write_retrieval(tmp_path / "retrieval" / "x", corpus, queries, [("q", "a", 1)]))])
    record = evaluate_bm25(task)
    assert record is not None and record.values == [0.0]


def test_reranking_keeps_candidates_without_a_common_word(tmp_path: Path) -> None:
    rows = [{"query": "apple", "positive": ["pear", "apple pie"], "negative": ["engine", "apple tree engine"]}]
    (task,) = load_tasks([str(write_rows(tmp_path / "reranking" / "x" / "test.jsonl", rows).parent)])
    record = evaluate_bm25(task)
    assert record is not None
    # "apple pie" is first, then the longer negative; "pear" ties with "engine" at zero and is put after it.
    assert record.values == pytest.approx([(1 / 1 + 2 / 4) / 2])


def test_other_categories_have_no_bm25(tmp_path: Path) -> None:
    scored = {task.category for task in load_tasks([str(write_suite(tmp_path))]) if evaluate_bm25(task) is not None}
    assert scored == {"retrieval", "reranking"}
