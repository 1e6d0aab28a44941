"""Private parts of mteb, checked against 2.26.24; imported in functions, since importing mteb seeds all random states.

- ``AbsTask._save_task_predictions``: without it ``tasks.bridge.build_task`` gets no predictions of items.
- ``AbsTaskClassification._undersample_data`` and ``_calculate_scores``: without them ``tasks.classification`` trains on
  other rows than it records, and takes minutes longer.
- ``mteb._evaluators.ClusteringEvaluator`` and ``mteb.timing.TimingStack``: mteb's k-means, for ``tasks.clustering``.
- ``mteb._create_dataloaders._retrieval_texts``: queries as mteb passes them to a model, for ``tasks.mteb_hub``.
- ``mteb.get_tasks.TASK_LIST``: all tasks, to suggest the nearest name in ``tasks.mteb_hub``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def kept_predictions() -> dict[str, Callable[..., Any]]:
    """Return class members that make a task keep its predictions in ``predictions`` instead of a file."""

    def keep(task: Any, predictions: object, *_: object, **__: object) -> None:
        task.predictions = predictions

    return {"_save_task_predictions": keep}


def drawn_samples(samples: Sequence[Sequence[int]], gold: Any) -> dict[str, Callable[..., Any]]:
    """Return class members that fix a classification task's training rows and make its scores faster.

    Args:
        samples: the training rows of each experiment.
        gold: the label of every test row, as an array.
    """
    from mteb.abstasks import AbsTaskClassification

    def undersample(task: Any, dataset: Any, experiment: int, order: Any = None) -> tuple[Any, Any, list[int]]:
        # mteb's own function reads the label column value by value from disk: a minute for 67,000 rows.
        return dataset, order, list(samples[experiment])

    def calculate_scores(task: Any, gold_column: Any, predicted: Any) -> Any:
        # sklearn reads a data set's column row by row, 300 times per task; an array is used directly.
        return AbsTaskClassification._calculate_scores(task, gold, predicted)

    return {"_undersample_data": undersample, "_calculate_scores": calculate_scores}


def cluster(
    texts: Sequence[str], labels: Sequence[str], encoder: object, metadata: object, split: str, subset: str, seed: int
) -> list[int]:
    """Return the cluster of each text, from k-means on the embeddings with as many clusters as labels."""
    from datasets import Dataset
    from mteb._evaluators import ClusteringEvaluator
    from mteb.timing import TimingStack

    evaluator = ClusteringEvaluator(
        Dataset.from_dict({"text": list(texts), "labels": list(labels)}),
        input_column_name="text",
        label_column_name="labels",
        task_metadata=metadata,
        hf_split=split,
        hf_subset=subset,
        timer=TimingStack(),
        seed=seed,
    )
    found: list[int] = evaluator(encoder, encode_kwargs={"show_progress_bar": False})
    return found


def query_texts(queries: Any) -> list[str]:
    """Return the queries of a retrieval data set as a model reads them: with instructions, and with turns joined."""
    from mteb._create_dataloaders import _retrieval_texts
    from mteb.types import PromptType

    return _retrieval_texts(queries, PromptType.query)


def known_tasks() -> dict[str, Any]:
    """Return the metadata of every mteb task, by name."""
    from mteb.get_tasks import TASK_LIST

    return {task.metadata.name: task.metadata for task in TASK_LIST}
