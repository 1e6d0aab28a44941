"""Our shortcuts against mteb's unchanged task objects: the same draws, predictions and clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskClassification, AbsTaskRetrieval
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy

from poolwise.config import Prompts
from poolwise.encoding.encoder import RandomEncoder
from poolwise.records import Category
from poolwise.tasks import Task, bridge, evaluate_task, load_tasks
from poolwise.tasks.classification import ClassificationTask
from poolwise.tasks.clustering import ClusteringTask
from poolwise.tasks.ranking import RankingTask
from unit.tasks.tiny import write_suite

ENCODER = RandomEncoder(16)


def load(tmp_path: Path, category: Category) -> Task:
    (task,) = load_tasks([str(write_suite(tmp_path, 40) / category)])
    return task


def plain(base: type[Any], category: Category, main_score: str, data: Any, **attributes: Any) -> tuple[Any, Any]:
    """Return mteb's own scores and predictions: only the data and the labels' column come from us."""
    task = bridge.build_task(base, category, main_score, data, **attributes)
    return bridge.run(task, bridge.MtebEncoder(ENCODER, Prompts())), task.predictions


def test_classification(tmp_path: Path) -> None:
    task = load(tmp_path, "classification")
    assert isinstance(task, ClassificationTask)
    number = {label: place for place, label in enumerate(sorted(set(task.labels)))}
    train = {"text": list(task.train_texts), "label": [number[label] for label in task.train_labels]}
    test = {"text": list(task.items), "label": [number[label] for label in task.labels]}
    data = DatasetDict(train=Dataset.from_dict(train), test=Dataset.from_dict(test))
    scores, predictions = plain(AbsTaskClassification, "classification", "accuracy", data)
    record = evaluate_task(task, ENCODER)
    assert record.score == scores["accuracy"]
    assert record.values == (np.array(predictions) == test["label"]).mean(axis=0).tolist()


def test_clustering_of_the_first_seed(tmp_path: Path) -> None:
    task = load(tmp_path, "clustering")
    assert isinstance(task, ClusteringTask)
    rows = Dataset.from_dict({"sentences": [list(task.items)], "labels": [list(task.labels)]})
    scores, predictions = plain(AbsTaskClusteringLegacy, "clustering", "v_measure", {bridge.SPLIT: rows})
    record = evaluate_task(task, ENCODER)
    assert record.assignments[0] == predictions[0]
    assert record.scores_by_seed[0] == scores["v_measure"]


def test_retrieval_at_mtebs_depth(tmp_path: Path) -> None:
    task = load(tmp_path, "retrieval")
    assert isinstance(task, RankingTask)
    data = {bridge.SUBSET: {bridge.SPLIT: task._split()}}
    scores, predictions = plain(AbsTaskRetrieval, "retrieval", "ndcg_at_10", data)
    assert len(predictions[task.ids[0]]) == len(task.corpus), "mteb keeps 1,000 documents a query"
    # mteb rounds its mean to five digits.
    assert evaluate_task(task, ENCODER).score == pytest.approx(scores["ndcg_at_10"], abs=5e-6)
