"""Experiment trackers: transformers' integrations that show losses while a training runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks

from poolwise.config import Tracker
from poolwise.errors import ConfigError, one_line

logger = logging.getLogger(__name__)

_PACKAGES: dict[Tracker, tuple[str, ...]] = {"tensorboard": ("tensorboard", "tensorboardX")}
"""The packages of a tracker, of which one is enough; others are named like their tracker."""
PROJECT = "poolwise"
LOGS = "tensorboard"
"""The folder inside that of a run with the files that TensorBoard shows."""


def missing_trackers(trackers: Sequence[Tracker]) -> str:
    """Return what is wrong with ``train.report_to`` on this machine; empty if nothing is."""
    missing = [name for name in trackers if not any(find_spec(found) for found in _PACKAGES.get(name, (name,)))]
    if not missing:
        return ""
    named = " and ".join(missing)
    return f"train.report_to has {named}, not installed here; run pip install {' '.join(missing)}, or leave it out"


def prepare_trackers(trackers: Sequence[Tracker]) -> None:
    """Create what trainings in several processes share: mlflow's store, which they would create at the same moment.

    Raises: ConfigError where the store cannot be reached or written.
    """
    if "mlflow" not in trackers:
        return
    name_project()
    try:
        client = import_module("mlflow").MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
        if name is None:
            client.search_experiments(max_results=1)
        elif client.get_experiment_by_name(name) is None:
            client.create_experiment(name)
    except Exception as error:  # mlflow's, its database's and its server's have no common class
        raise ConfigError(
            f"train.report_to: the store of mlflow cannot be used: {one_line(error)}",
            "wanted one that can be reached and written",
            "check MLFLOW_TRACKING_URI, or leave mlflow out",
        ) from error


def name_project() -> None:
    """Name the project for trackers that take it from the environment, where the user has not named one."""
    os.environ.setdefault("WANDB_PROJECT", PROJECT)
    if "MLFLOW_EXPERIMENT_ID" not in os.environ:
        os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", PROJECT)


class GuardedTracker:
    """A callback of a tracker that cannot end a training: after an error it is sent nothing more."""

    def __init__(self, tracker: Any) -> None:
        self.tracker = tracker
        self._is_over = False
        self._last: tuple[Any, ...] | None = None

    def __getattr__(self, event: str) -> Callable[..., None]:
        if not event.startswith("on_"):
            raise AttributeError(event)
        return partial(self._send, event)

    def close(self) -> None:
        """End the tracked run, also where the training failed, so that the next training gets one of its own."""
        name = type(self.tracker).__name__.removesuffix("Callback").lower()
        if name == "wandb":  # the end of a training does not end its run
            self._try(import_module("wandb").finish)
        elif self._last is not None:
            self._try(partial(self.tracker.on_train_end, *self._last))
        self._is_over = True

    def _send(self, event: str, *args: Any, **kwargs: Any) -> None:
        if self._is_over:
            return
        self._last = None if event == "on_train_end" else args
        self._try(partial(getattr(self.tracker, event), *args, **kwargs))

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            if not self._is_over:
                name = type(self.tracker).__name__.removesuffix("Callback")
                logger.warning("%s failed, so this training is not tracked to its end: %s", name, one_line(error))
            self._is_over = True


def guard_trackers(callbacks: list[Any], trackers: Sequence[Tracker], out: Path) -> list[GuardedTracker]:
    """Put a guard in the place of each tracker among a trainer's callbacks, and return the guards.

    TensorBoard is made to write into the folder of the run, because that of its checkpoints is deleted at the end.
    """
    kinds = tuple(get_reporting_integration_callbacks(list(trackers)))
    guards = []
    for place, callback in enumerate(callbacks):
        if isinstance(callback, kinds):
            if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
                callback.logging_dir = str(out / LOGS)
            callbacks[place] = GuardedTracker(callback)
            guards.append(callbacks[place])
    return guards
