"""mteb's task objects over data in memory, and our encoder as mteb's encoder protocol.

The scores are mteb's: its ``evaluate`` runs unchanged. Predictions stay on the task object instead of in a file,
because we need the score of every item and no file.
"""

from __future__ import annotations

import contextlib
import logging
import random
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from poolwise.config import Prompts
from poolwise.encoding import Embeddings
from poolwise.prompts import MTEB_TYPES
from poolwise.records import Category
from poolwise.tasks.task import Encoder
from poolwise.upstream.mteb import kept_predictions

SEED = 42
"""mteb's default, so that folder tasks are scored as in the benchmark."""
SPLIT = "test"
SUBSET = "default"


class MtebEncoder:
    """Our encoder as mteb's ``EncoderProtocol``: documents get the document prompt, other texts the query prompt."""

    def __init__(self, encoder: Encoder, prompts: Prompts) -> None:
        from mteb.models import ModelMeta

        self.encoder, self.prompts = encoder, prompts
        self.mteb_model_meta = ModelMeta.create_empty({"name": "poolwise/model", "revision": "local"})

    def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> Embeddings:
        from mteb.types import PromptType

        prompt = self.prompts.document if prompt_type == PromptType.document else self.prompts.query
        # Read the loader's data set as a column: batching and collating rows takes longer than the metric.
        return self.encoder.encode(list(inputs.dataset["text"]), prompt)

    def similarity(self, first: Embeddings, second: Embeddings) -> Any:
        from mteb.similarity_functions import cos_sim

        return cos_sim(first, second)

    def similarity_pairwise(self, first: Embeddings, second: Embeddings) -> Any:
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(first, second)


def metadata(category: Category, main_score: str) -> Any:
    """Return the metadata that mteb requires of a task; it does not change the score of a text task."""
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        dataset={"path": "local", "revision": "local"},
        name="PoolwiseLocal",
        description="A task read from a folder.",
        type=MTEB_TYPES[category],
        category="t2t",
        eval_splits=[SPLIT],
        eval_langs=["eng-Latn"],
        main_score=main_score,
    )


def build_task(base: type[Any], category: Category, main_score: str, dataset: Any, **attributes: Any) -> Any:
    """Return a new mteb task over ``dataset``, so that no random state is shared between evaluations.

    After ``run``, its ``predictions`` hold what mteb would write to a prediction file.
    """
    members: dict[str, object] = {"metadata": metadata(category, main_score), **kept_predictions(), **attributes}
    task = type("LocalTask", (base,), members)(seed=SEED)
    task.dataset, task.data_loaded = dataset, True
    return task


def run(task: Any, model: object) -> Mapping[str, Any]:
    """Return mteb's scores of ``model`` (an ``MtebEncoder`` or a search model) on a task of ``build_task``."""
    scores = task.evaluate(
        model,
        split=SPLIT,
        encode_kwargs={"show_progress_bar": False},
        prediction_folder=Path("never-written"),
    )
    return scores[SUBSET]


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Restore random states, log levels and progress bars on exit, and hide warnings inside.

    mteb seeds ``random``, numpy and torch globally when it is imported, and again with every task and evaluator:
    a training that evaluates half-way would repeat its dropout masks.
    """
    import datasets
    import torch

    python_state, numpy_state = random.getstate(), np.random.get_state()
    logs = {logging.getLogger(name): logging.getLogger(name).level for name in ("mteb", "huggingface_hub")}
    bars_were_on = not datasets.are_progress_bars_disabled()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for log in logs:
            log.setLevel(logging.ERROR)
        datasets.disable_progress_bars()
        try:
            yield
        finally:
            for log, level in logs.items():
                log.setLevel(level)
            if bars_were_on:
                datasets.enable_progress_bars()
            random.setstate(python_state)
            np.random.set_state(numpy_state)
