"""Experiment trackers: transformers' integrations that show losses while a training runs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers.integrations import TensorBoardCallback

from poolwise.config import Tracker

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


def keep_logs(callbacks: Sequence[Any], out: Path) -> None:
    """Make TensorBoard write into the folder of a run, because the folder of its checkpoints is deleted at the end."""
    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(out / LOGS)


def close_trackers(trackers: Sequence[Tracker]) -> None:
    """End the tracked run, so that the next training of this process gets one of its own; others end by themselves."""
    if "wandb" in trackers:
        import_module("wandb").finish()
