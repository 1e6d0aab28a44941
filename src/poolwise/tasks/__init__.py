"""Evaluation tasks from folders and from MTEB, and the score of every item."""

from poolwise.tasks.bm25 import evaluate_bm25
from poolwise.tasks.encoder import ModelEncoder, RandomEncoder
from poolwise.tasks.evaluate import evaluate_task
from poolwise.tasks.folders import load_tasks
from poolwise.tasks.task import Encoder, Task
from poolwise.tasks.texts import save_texts

__all__ = [
    "Encoder",
    "ModelEncoder",
    "RandomEncoder",
    "Task",
    "evaluate_bm25",
    "evaluate_task",
    "load_tasks",
    "save_texts",
]
