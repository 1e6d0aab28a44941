"""Scores one task with one encoder."""

from __future__ import annotations

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
