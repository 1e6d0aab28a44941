"""Which rows a cap takes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from poolwise.tasks import load_tasks
from poolwise.tasks.ranking import RankingTask
from poolwise.tasks.subset import random_rows, stratified_rows
from unit.tasks.tiny import write_retrieval


def test_labels_keep_their_share() -> None:
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    for seed in range(5):
        rows = stratified_rows(labels, 20, np.random.default_rng(seed))
        assert rows == sorted(set(rows))
        assert Counter(labels[row] for row in rows) == {"a": 12, "b": 6, "c": 2}


def test_two_labels_stay_however_rare_the_second() -> None:
    labels = ["a"] * 1000 + ["b"]
    assert {labels[row] for row in stratified_rows(labels, 2, np.random.default_rng(0))} == {"a", "b"}


def test_other_seeds_take_other_rows() -> None:
    draws = {tuple(random_rows(100, 10, np.random.default_rng(seed))) for seed in range(5)}
    assert len(draws) == 5 and all(len(set(draw)) == 10 for draw in draws)
    assert random_rows(3, 10, np.random.default_rng(0)) == [0, 1, 2]


def _task(tmp_path: Path, num_corpus: int, judged_a_query: int) -> RankingTask:
    folder = write_retrieval(
        tmp_path / "retrieval" / "x",
        {f"d{i}": ("", f"text {i}") for i in range(num_corpus)},
        {f"q{i}": f"query {i}" for i in range(20)},
        [(f"q{i}", f"d{i * judged_a_query + j}", j % 2) for i in range(20) for j in range(judged_a_query)],
    )
    (task,) = load_tasks([str(folder)])
    assert isinstance(task, RankingTask)
    return task


def test_judged_documents_stay_and_others_fill_up(tmp_path: Path) -> None:
    task = _task(tmp_path, num_corpus=100, judged_a_query=2)
    capped = task.capped(5, 0)
    assert len(capped.ids) == 5 and capped.num_total == 20
    assert capped.settings["num_corpus"] == 20, "10 judged and as many others"
    assert capped.settings["num_corpus_total"] == 100
    for query in capped.ids:
        assert capped.qrels[query] == task.qrels[query]
        assert set(capped.qrels[query]) <= set(capped.corpus)


def test_the_corpus_may_be_as_large_as_the_cap(tmp_path: Path) -> None:
    capped = _task(tmp_path, num_corpus=100, judged_a_query=2).capped(90, 0)
    assert (len(capped.ids), len(capped.corpus)) == (20, 90)


def test_a_cap_that_cuts_nothing_changes_nothing(tmp_path: Path) -> None:
    task = _task(tmp_path, num_corpus=50, judged_a_query=2)
    assert task.capped(50, 0) is task
