"""MTEB's tasks by name, with data put in their place: the hub cannot be reached here."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from poolwise.errors import DataError
from poolwise.tasks import Task, load_tasks
from poolwise.tasks import mteb_hub as hub
from poolwise.tasks.classification import SAMPLES_PER_LABEL, ClassificationTask
from poolwise.tasks.clustering import ClusteringTask
from poolwise.tasks.pairs import PairTask
from poolwise.tasks.ranking import RankingTask


def load_with(monkeypatch: pytest.MonkeyPatch, name: str, data: Any) -> Task:
    monkeypatch.setattr(hub, "_download", lambda source, _: setattr(source, "dataset", data))
    (task,) = load_tasks([f"mteb:{name}"])
    return task


def test_sts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Dataset.from_dict({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [1.0, 2.0]})
    task = load_with(monkeypatch, "STS12", DatasetDict(test=rows))
    assert isinstance(task, PairTask)
    assert (task.name, task.first, task.second, task.gold) == ("sts/STS12", ("a", "b"), ("c", "d"), (1.0, 2.0))


def test_pairs_in_one_row_of_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Dataset.from_dict({"sentence1": [["a", "b"]], "sentence2": [["c", "d"]], "labels": [[0, 1]]})
    task = load_with(monkeypatch, "SprintDuplicateQuestions", DatasetDict(test=rows))
    assert isinstance(task, PairTask)
    assert (task.category, task.second, task.gold) == ("pair_classification", ("c", "d"), (0.0, 1.0))


def test_classification_takes_mtebs_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    task = load_with(monkeypatch, "EmotionClassification", DatasetDict(train=rows, test=rows))
    assert isinstance(task, ClassificationTask)
    assert (task.samples_per_label, task.labels, task.train_texts) == (16, ("0", "1"), ("a", "b"))


def test_clustering_pools_the_samples_of_the_old_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Dataset.from_dict({"sentences": [["a", "b"], ["b", "c"]], "labels": [["x", "y"], ["y", "x"]]})
    task = load_with(monkeypatch, "TwentyNewsgroupsClustering", DatasetDict(test=rows))
    assert isinstance(task, ClusteringTask)
    assert (task.items, task.labels) == (("a", "b", "c"), ("x", "y", "x"))


def test_clustering_by_the_outermost_of_nested_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Dataset.from_dict({"sentences": ["a", "b"], "labels": [["x", "1"], ["y", "2"]]})
    task = load_with(monkeypatch, "ArXivHierarchicalClusteringS2S", DatasetDict(test=rows))
    assert isinstance(task, ClusteringTask)
    assert task.labels == ("x", "y")


@pytest.mark.parametrize(("name", "ranked"), [("SciFact", None), ("AskUbuntuDupQuestions", {"q": ["a"]})])
def test_ranking(monkeypatch: pytest.MonkeyPatch, name: str, ranked: dict[str, list[str]] | None) -> None:
    split = {
        "corpus": Dataset.from_dict({"id": ["a", "b"], "title": ["t", ""], "text": ["one", "two"]}),
        "queries": Dataset.from_dict({"id": ["q", "unjudged"], "text": ["ask", "ask more"]}),
        "relevant_docs": {"q": {"a": 1}},
        "top_ranked": ranked,
    }
    task = load_with(monkeypatch, name, {"default": {"test": split}})
    assert isinstance(task, RankingTask)
    assert (task.ids, task.queries, task.qrels) == (("q",), ("ask",), {"q": {"a": 1}})
    assert [document.full_text for document in task.corpus.values()] == ["t one", "two"]
    assert task.candidates == (None if ranked is None else {"q": ("a",)})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SciFct", "MTEB has no task 'SciFct'; did you mean 'SciFact'?"),
        ("BornholmBitextMining", "is in dan; wanted a task in English"),
        ("CIFAR10Clustering", "wanted a text task of type"),
    ],
)
def test_tasks_that_are_not_ours(name: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_tasks([f"mteb:{name}"])
    assert message in str(caught.value)


def test_without_a_network_the_error_says_how_to_use_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(DataError, match="cannot fetch mteb:STS12") as caught:
        load_tasks(["mteb:STS12"])
    assert "put the task into a folder" in str(caught.value)


def test_the_known_samples_per_label_are_mtebs() -> None:
    from mteb.get_tasks import TASK_LIST

    theirs = {task.metadata.name: getattr(task, "samples_per_label", None) for task in TASK_LIST}
    assert {name: theirs[name] for name in SAMPLES_PER_LABEL} == SAMPLES_PER_LABEL
    assert theirs["Banking77Classification"] == 8
