"""Scores one task with one encoder, at full width and at shorter embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.encoding import ModelEncoder, TruncatedEncoder
from poolwise.records import ItemScores
from poolwise.tasks.bridge import isolated
from poolwise.tasks.task import Encoder, Task


def evaluate_task(task: Task, encoder: Encoder) -> ItemScores:
    """Return the scores of ``task`` and its items for the model behind ``encoder``, as mteb computes them.

    Global random states, log levels and progress bars are restored; nothing is written to disk.
    Raises: EvalError where the score is undefined for these embeddings.
    """
    with isolated():
        return task.evaluate(encoder)


def with_dimensions(record: ItemScores, task: Task, encoder: ModelEncoder, dimensions: Sequence[int]) -> ItemScores:
    """Return a task's record with its score at each of these dimensions; no text is encoded again.

    Args:
        record: of the task, at the full width of ``encoder``.
        dimensions: at most that width.
    Raises: EvalError as ``evaluate_task``.
    """
    width = encoder.model.get_embedding_dimension()
    scores = {
        dimension: record.score
        if dimension == width
        else evaluate_task(task, TruncatedEncoder(encoder, dimension)).score
        for dimension in dimensions
    }
    return record.model_copy(update={"by_dimension": scores})
