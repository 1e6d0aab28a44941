"""Each category's score and item values, worked out by hand."""

from __future__ import annotations

from math import log2
from pathlib import Path

import pytest

from poolwise.config import Prompts
from poolwise.errors import EvalError
from poolwise.tasks import evaluate_task, load_tasks
from poolwise.tasks.ranking import RankingTask
from unit.tasks.tiny import (
    COS_45,
    EAST,
    NORTH,
    NORTH_EAST,
    PlaneEncoder,
    write_labelled,
    write_pairs,
    write_retrieval,
    write_rows,
)

PLANE = {"east": EAST, "north": NORTH, "north east": NORTH_EAST, "": (0.5, -1.0)}


def test_sts_is_the_rank_correlation_of_cosine_and_gold(tmp_path: Path) -> None:
    rows = [("east", "east", 5), ("east", "north", 3), ("east", "north east", 1)]
    (task,) = load_tasks([str(write_pairs(tmp_path / "sts" / "x", rows, "score"))])
    record = evaluate_task(task, PlaneEncoder(PLANE))
    # Ranks of the cosines 3 1 2, of the scores 3 2 1: 1 - 6 * (0 + 1 + 1) / (3 * 8).
    assert record.score == pytest.approx(0.5)
    assert record.values == pytest.approx([1.0, 0.0, COS_45], abs=1e-6)
    assert record.gold == [5, 3, 1]
    assert record.ids == ["0", "1", "2"]
    assert len(set(record.group)) == 1, "all three pairs share their first sentence"


def test_equal_similarities_are_an_error_and_not_a_number(tmp_path: Path) -> None:
    rows = [("east", "east", 5), ("north", "north", 3)]
    (task,) = load_tasks([str(write_pairs(tmp_path / "sts" / "x", rows, "score"))])
    with pytest.raises(EvalError, match="sts/x: cosine_spearman is undefined"):
        evaluate_task(task, PlaneEncoder(PLANE))


def test_pair_classification_is_average_precision_of_the_cosine(tmp_path: Path) -> None:
    rows = [("east", "east", 1), ("east", "north east", 0), ("north", "east", 1)]
    (task,) = load_tasks([str(write_pairs(tmp_path / "pair_classification" / "x", rows, "label"))])
    record = evaluate_task(task, PlaneEncoder(PLANE))
    assert record.score == pytest.approx((1 + 2 / 3) / 2)
    assert record.gold == [1, 0, 1]
    assert record.values == pytest.approx([1.0, COS_45, 0.0], abs=1e-6)


def _retrieval(tmp_path: Path) -> RankingTask:
    folder = write_retrieval(
        tmp_path / "retrieval" / "x",
        {"a": ("", "east"), "b": ("north", "east"), "c": ("", "north"), "empty": ("", "")},
        {"q1": "east", "q2": "north"},
        [("q1", "b", 1), ("q2", "c", 2)],
    )
    (task,) = load_tasks([str(folder)])
    assert isinstance(task, RankingTask)
    return task


def test_retrieval_is_ndcg_at_ten_per_query(tmp_path: Path) -> None:
    task = _retrieval(tmp_path)
    record = evaluate_task(task, PlaneEncoder({**PLANE, "north east": NORTH_EAST}))
    # The title "north" and the text "east" are read as "north east": second for the first query.
    assert record.ids == ["q1", "q2"]
    assert record.values == pytest.approx([1 / log2(3), 1.0])
    assert record.score == pytest.approx((1 / log2(3) + 1) / 2)
    assert record.settings["num_corpus"] == 4
    assert record.settings["num_empty_documents"] == 1


class OnlyFirst:
    """A search model that answers the first query and no other."""

    mteb_model_meta = None

    def index(self, **_: object) -> None: ...

    def search(self, **_: object) -> dict[str, dict[str, float]]:
        return {"q1": {"b": 1.0}}


def test_a_judged_query_that_a_run_lacks_scores_zero(tmp_path: Path) -> None:
    record = _retrieval(tmp_path).evaluate_search(OnlyFirst())
    assert record.values == [1.0, 0.0]
    assert record.score == 0.5


def test_prompts_go_to_their_side(tmp_path: Path) -> None:
    _retrieval(tmp_path)
    prompts = Prompts(query="find: ", document="read: ")
    (task,) = load_tasks([str(tmp_path / "retrieval" / "x")], prompts={"retrieval": prompts})
    asked: list[tuple[str, str]] = []

    class Noting(PlaneEncoder):
        def encode(self, texts: list[str], prompt: str) -> object:
            asked.extend((prompt, text) for text in texts)
            return super().encode(texts, prompt)

    evaluate_task(task, Noting(PLANE, ["find: ", "read: "]))
    assert sorted(asked) == sorted(task.texts())
    assert {text for prompt, text in asked if prompt == "find: "} == {"east", "north"}


def test_reranking_is_average_precision_over_the_candidates(tmp_path: Path) -> None:
    rows = [
        {"query": "east", "positive": ["north east", "north"], "negative": ["east"]},
        {"query": "north", "positive": ["north"], "negative": ["east"]},
    ]
    (task,) = load_tasks([str(write_rows(tmp_path / "reranking" / "x" / "test.jsonl", rows).parent)])
    record = evaluate_task(task, PlaneEncoder(PLANE))
    assert record.metric == "map"
    assert record.values == pytest.approx([(1 / 2 + 2 / 3) / 2, 1.0])
    assert record.score == pytest.approx(sum(record.values) / 2)


def test_reranking_counts_ties_against_the_run(tmp_path: Path) -> None:
    rows = [{"query": "east", "positive": ["north"], "negative": ["north", "north"]}]
    (task,) = load_tasks([str(write_rows(tmp_path / "reranking" / "x" / "test.jsonl", rows).parent)])
    assert evaluate_task(task, PlaneEncoder(PLANE)).values == pytest.approx([1 / 3])


def test_classification_is_correctness_per_test_row(tmp_path: Path) -> None:
    folder = tmp_path / "classification" / "x"
    write_labelled(folder, [("east", "right"), ("north", "up")] * 3, "train")
    write_labelled(folder, [("east", "right"), ("north", "up"), ("east", "up")])
    (task,) = load_tasks([str(folder)])
    record = evaluate_task(task, PlaneEncoder(PLANE))
    assert record.values == [1.0, 1.0, 0.0]
    assert record.score == pytest.approx(2 / 3)
    assert record.gold == ["right", "up", "up"]
    assert record.group[0] == record.group[2] != record.group[1], "equal texts depend on each other"
    assert record.settings["num_experiments"] == 10


def test_clustering_keeps_every_seeds_clusters(tmp_path: Path) -> None:
    rows = [("here", "a"), ("near", "a"), ("close", "b"), ("far", "b")]
    (task,) = load_tasks([str(write_labelled(tmp_path / "clustering" / "x", rows))])
    vectors = {"here": (0.0, 0.0), "near": (0.0, 0.1), "close": (0.1, 0.0), "far": (9.0, 9.0)}
    record = evaluate_task(task, PlaneEncoder(vectors))
    assert len(record.assignments) == len(record.scores_by_seed) == 10
    assert all(row[0] == row[1] == row[2] != row[3] for row in record.assignments)
    # Homogeneity 1 - (3/4 * 0.6365) / 0.6931 = 0.3113, completeness 1 - 0.3466 / 0.5623 = 0.3837.
    assert record.score == pytest.approx(0.3437, abs=2e-4)
    assert record.values == []
    assert record.gold == ["a", "a", "b", "b"]
