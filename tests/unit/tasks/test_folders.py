"""Names to tasks: layouts, task.yaml, and every problem of every file in one error."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from poolwise.config import Prompts
from poolwise.errors import DataError
from poolwise.records import CATEGORIES
from poolwise.tasks import load_tasks
from poolwise.tasks.classification import ClassificationTask
from poolwise.tasks.ranking import RankingTask
from support import shared_data
from unit.tasks.tiny import write_labelled, write_pairs, write_retrieval, write_rows, write_suite

CORPUS = {"a": ("", "east"), "b": ("", "north")}


def problems_of(*names: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        load_tasks([str(name) for name in names])
    return str(caught.value)


def test_a_task_a_category_and_a_suite(tmp_path: Path) -> None:
    root = write_suite(tmp_path / "suite")
    assert sorted(task.name for task in load_tasks([str(root)])) == sorted(f"{name}/tiny" for name in CATEGORIES)
    assert [task.name for task in load_tasks([str(root / "sts"), str(root / "retrieval/tiny/")])] == [
        "sts/tiny",
        "retrieval/tiny",
    ]


def test_a_rows_file_beside_the_categories_is_no_task(tmp_path: Path) -> None:
    root = write_suite(tmp_path)
    write_rows(root / "corpus.jsonl", [{"text": "not a task"}])
    assert len(load_tasks([str(root)])) == 6


def test_extra_splits_are_left_alone(tmp_path: Path) -> None:
    folder = write_suite(tmp_path) / "classification" / "tiny"
    write_labelled(folder, [("more", "label 0")], "oos_test")
    (task,) = load_tasks([str(folder)])
    assert task.num_items == 12


def test_the_whole_reference_suite_loads() -> None:
    tasks = load_tasks([str(shared_data("eval"))])
    names = {task.name: task for task in tasks}
    assert len(tasks) == 27
    assert names["classification/Emotion"].settings["samples_per_label"] == 16
    assert names["classification/Banking77"].settings["samples_per_label"] == 8
    assert names["retrieval/Cranfield"].settings["num_empty_documents"] == 2
    assert len(set(names["retrieval/SQuAD-dev-16articles"].group)) == 16


def test_task_yaml_says_what_the_folder_name_does_not(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path / "mine", [("a", 1), ("b", 2)])
    write_labelled(folder, [("c", 1), ("d", 2)], "train")
    (folder / "task.yaml").write_text(
        "category: classification\nsamples_per_label: 3\nprompts: {query: 'Q: ', document: ''}\n"
    )
    (task,) = load_tasks([str(folder)], prompts={"classification": Prompts(query="other")})
    assert isinstance(task, ClassificationTask)
    assert (task.name, task.samples_per_label) == ("classification/mine", 3)
    assert {prompt for prompt, _ in task.texts()} == {"Q: "}
    assert task.labels == ("1", "2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("categry: sts", "unknown key 'categry'; did you mean 'category'?"),
        ("prompts: {qery: x}", "did you mean 'query'?"),
        ("metric: ndcg_at_1", "metric 'ndcg_at_1' for sts; known: cosine_spearman"),
        ("samples_per_label: 4", "samples_per_label is only for classification, this is sts"),
        ("[1]", "holds list"),
        ("a: b: c", "is not YAML: line 1, column 5"),
        ("metric: map\nmetric: ndcg_at_10", "key 'metric' is given twice"),
    ],
)
def test_a_bad_task_yaml(tmp_path: Path, text: str, message: str) -> None:
    folder = write_pairs(tmp_path / "sts" / "x", [("a", "b", 1), ("c", "d", 2)], "score")
    (folder / "task.yaml").write_text(text)
    assert message in problems_of(folder)


def test_retrieval_may_be_scored_by_average_precision(tmp_path: Path) -> None:
    folder = write_retrieval(tmp_path / "retrieval" / "x", CORPUS, {"q": "east"}, [("q", "a", 1)])
    (folder / "task.yaml").write_text("metric: map")
    (task,) = load_tasks([str(folder)])
    assert task.metric == "map"


@pytest.mark.parametrize(
    "lines",
    ["q\ta\t1\n", "query-id\tcorpus-id\tscore\nq\ta\t1\n", "q 0 a 1\n", "q\tQ0\ta\t1.0\n\n"],
    ids=["plain", "header", "trec", "trec with tabs"],
)
def test_judgements_in_every_form(tmp_path: Path, lines: str) -> None:
    folder = write_retrieval(tmp_path / "retrieval" / "x", CORPUS, {"q": "east"}, [])
    (folder / "qrels.tsv").write_text(lines)
    (task,) = load_tasks([str(folder)])
    assert isinstance(task, RankingTask)
    assert task.qrels == {"q": {"a": 1}}


def test_beirs_own_layout_judges_one_split_of_the_queries(tmp_path: Path) -> None:
    queries = {"q": "east", "of another split": "north"}
    folder = write_retrieval(tmp_path / "retrieval" / "x", CORPUS, queries, [("q", "a", 1)])
    (folder / "qrels").mkdir()
    shutil.move(folder / "qrels.tsv", folder / "qrels" / "test.tsv")
    (task,) = load_tasks([str(folder)])
    assert task.ids == ("q",)


def test_written_groups_win(tmp_path: Path) -> None:
    rows = [("same", "b", 1, "g1"), ("same", "d", 2, "g2"), ("x", "y", 3, "g1"), ("z", "w", 4)]
    (task,) = load_tasks([str(write_pairs(tmp_path / "sts" / "x", rows, "score"))])
    assert task.group == ("group g1", "group g2", "group g1", "row 3")


def test_queries_about_one_article_are_a_group(tmp_path: Path) -> None:
    corpus = {"a": ("Paris", "one"), "b": ("Paris", "two"), "c": ("Rome", "three"), "d": ("", "four")}
    queries = {"q1": "1", "q2": "2", "q3": "3", "q4": "4", "q5": "5"}
    qrels = [("q1", "a", 1), ("q2", "b", 1), ("q3", "c", 1), ("q4", "c", 1), ("q4", "d", 0), ("q5", "d", 1)]
    (task,) = load_tasks([str(write_retrieval(tmp_path / "retrieval" / "x", corpus, queries, qrels))])
    assert task.group == ("with 0", "with 0", "with 2", "with 2", "with 4")


def test_all_bad_rows_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "sts" / "x"
    folder.mkdir(parents=True)
    lines = [
        '{"sentence1": "a", "sentence2": "b", "score": 1}',
        "{not json",
        "",
        '{"sentence1": "a", "score": 1}',
        '{"sentence1": " ", "sentence2": "b", "score": 2}',
        '{"sentence1": "a", "sentence2": "b", "score": NaN}',
        '{"sentence1": "a", "sentence2": 3, "score": "high"}',
        "[1]",
    ]
    (folder / "test.jsonl").write_text("\n".join(lines))
    other = write_labelled(tmp_path / "clustering" / "y", [("a", None)])
    text = problems_of(folder, other)
    for line, message in [
        (2, "not JSON"),
        (4, "field 'sentence2' is missing (found score, sentence1)"),
        (5, "'sentence1' is empty"),
        (6, "'score' is not a finite number: nan"),
        (7, "'sentence2' is not a text: 3"),
        (7, "'score' is not a finite number: 'high'"),
        (8, "wanted a JSON object, got [1]"),
    ]:
        assert f"{folder}/test.jsonl:{line}: {message}" in text
    assert f"{other}/test.jsonl.gz:1: 'label' is empty" in text
    assert "8 problem(s)" in text


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ([("q", "a", 1), ("q", "gone", 1)], "qrels.tsv:3: document 'gone' is not in the corpus"),
        ([("q", "a", 1), ("gone", "a", 1)], "qrels.tsv:3: query 'gone' is not among the queries"),
        ([("q", "a", 0)], "query 'q' has no relevant document"),
        ([("q", "a", "high"), ("q", "a", "higher")], "grade 'higher' is not a whole number"),
        ([("q", "a", 1), ("q", "a", 2)], "qrels.tsv:3: 'a' is judged twice for 'q', 1 and 2"),
        ([("q", "a", 0.5)], "grade '0.5' is not a whole number"),
        ([], "holds no judgements"),
    ],
)
def test_bad_judgements(tmp_path: Path, qrels: list[tuple[str, str, object]], message: str) -> None:
    assert message in problems_of(write_retrieval(tmp_path / "retrieval" / "x", CORPUS, {"q": "east"}, qrels))


def test_a_query_without_any_judgement(tmp_path: Path) -> None:
    queries = {"q": "east", "lost": "north"}
    text = problems_of(write_retrieval(tmp_path / "retrieval" / "x", CORPUS, queries, [("q", "a", 1)]))
    assert "query 'lost' has no relevant document" in text


def test_ids_that_repeat_and_empty_queries(tmp_path: Path) -> None:
    folder = write_retrieval(tmp_path / "retrieval" / "x", CORPUS, {"q": " "}, [("q", "a", 1)])
    with gzip.open(folder / "corpus.jsonl.gz", "at") as file:
        file.write(json.dumps({"_id": "a", "text": "again"}))
    text = problems_of(folder)
    assert "corpus.jsonl.gz:3: id 'a' is already in line 1" in text
    assert "queries.jsonl.gz:1: 'text' is empty" in text


def test_a_reranking_query_without_a_positive(tmp_path: Path) -> None:
    rows = [{"query": "east", "positive": [], "negative": ["x"]}]
    folder = write_rows(tmp_path / "reranking" / "x" / "test.jsonl", rows).parent
    assert "query '0' has no relevant document" in problems_of(folder)


def test_tasks_with_one_label(tmp_path: Path) -> None:
    one = write_labelled(tmp_path / "clustering" / "one", [("a", "x"), ("b", "x")])
    two = write_pairs(tmp_path / "pair_classification" / "two", [("a", "b", 1), ("c", "d", 1)], "label")
    three = write_pairs(tmp_path / "sts" / "three", [("a", "b", 2), ("c", "d", 2)], "score")
    four = write_labelled(tmp_path / "classification" / "four", [("a", "x"), ("b", "new")])
    write_labelled(four, [("c", "x"), ("d", "y")], "train")
    text = problems_of(one, two, three, four)
    assert "clustering/one: all rows have one label ('x')" in text
    assert "pair_classification/two: all 2 pairs have one label" in text
    assert "sts/three: all 2 scores are equal" in text
    assert "classification/four: label 'new' is in the test rows but in no training row" in text


def test_a_label_that_is_neither_zero_nor_one(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pair_classification" / "x", [("a", "b", 1), ("c", "d", 2)], "label")
    assert "test.jsonl.gz:2: 'label' is 2, wanted 0 or 1" in problems_of(folder)


def test_rows_that_no_later_step_could_take(tmp_path: Path) -> None:
    folder = tmp_path / "clustering" / "x"
    folder.mkdir(parents=True)
    lines = ['{"text": "half \\ud83d", "label": "x"}', '{"text": "a", "label": "\\udfff"}', "[" * 100_000]
    (folder / "test.jsonl").write_text("\n".join(lines))
    text = problems_of(folder)
    assert "test.jsonl:1: 'text' holds half a surrogate pair" in text
    assert "test.jsonl:2: 'label' holds half a surrogate pair" in text
    assert "test.jsonl:3: not JSON" in text


def test_every_line_that_is_not_utf8_is_counted(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "sts" / "x", [("a", "b", 1), ("c", "d", 2)], "score")
    with gzip.open(folder / "test.jsonl.gz", "ab") as file:
        file.write(b"\xff\n" * 3 + b'{"sentence1": "\xe9"}\n')
    text = problems_of(folder)
    assert "4 problem(s)" in text and all(f"test.jsonl.gz:{line}: not UTF-8" in text for line in (3, 4, 5, 6))


def test_a_file_cut_in_the_middle(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "sts" / "x", [("a", "b", 1), ("c", "d", 2)], "score")
    path = folder / "test.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-9])
    assert "cannot be read further" in problems_of(folder)


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    root = write_suite(tmp_path / "suite")
    (tmp_path / "empty").mkdir()
    assert "did you mean 'suite'?" in problems_of(tmp_path / "siute")
    assert "no task in this folder: found nothing; expected test.jsonl" in problems_of(tmp_path / "empty")
    assert "sts/tiny: 2 tasks have this name" in problems_of(root / "sts", root / "sts" / "tiny")
    odd = write_pairs(tmp_path / "retreival" / "x", [("a", "b", 1), ("c", "d", 2)], "score")
    assert "unknown category" in problems_of(odd) and "did you mean 'retrieval'?" in problems_of(odd)
    (root / "clustering" / "tiny" / "test.jsonl.gz").rename(root / "clustering" / "tiny" / "train.jsonl.gz")
    lacking = "test rows are missing (test.jsonl, test.csv or test.tsv, plain or .gz), which clustering needs"
    assert f"{lacking}; found train.jsonl.gz" in problems_of(root)


def test_a_score_of_hundreds_of_digits_is_a_bad_row(tmp_path):
    folder = tmp_path / "sts" / "toy"
    folder.mkdir(parents=True)
    row = '{"sentence1": "a", "sentence2": "b", "score": %s}\n'
    (folder / "test.jsonl").write_text(row % "1" + row % ("9" * 400))
    with pytest.raises(DataError, match=r"test\.jsonl:2: 'score' is not a finite number: 999"):
        load_tasks([str(folder)])
