"""Evaluation tasks from folders and from MTEB, with a score for every item."""

from poolwise.tasks.bm25 import evaluate_bm25
from poolwise.tasks.evaluate import evaluate_task, with_dimensions
from poolwise.tasks.folders import load_tasks
from poolwise.tasks.item_texts import save_texts
from poolwise.tasks.task import Encoder, Task

__all__ = [
    "Encoder",
    "Task",
    "evaluate_bm25",
    "evaluate_task",
    "load_tasks",
    "save_texts",
    "with_dimensions",
]
