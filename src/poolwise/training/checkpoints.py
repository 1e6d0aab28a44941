"""Checkpoints: only the trained parameters, written atomically, with the hash of their run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor

from poolwise.errors import ConfigError
from poolwise.storage.whole_files import flush_folder
from poolwise.training.optimizer import trainable_parameters
from poolwise.training.shards import part_of

_WEIGHTS, _RUN = "trained.safetensors", "run.json"
_PREFIX = "checkpoint-"
FOLDER = "checkpoints"
"""The folder of checkpoints inside the folder of a run."""


def save_weights(weights: Mapping[str, Tensor], folder: Path, run_hash: str) -> None:
    """Write the trained parameters, as ``whole_weights`` returns them, and the hash of their run."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights), folder / _WEIGHTS)
    (folder / _RUN).write_text(json.dumps({"run": run_hash}) + "\n")


def load_weights(model: SentenceTransformer, folder: Path) -> None:
    """Load stored parameters into the model, bit for bit; a rank of a sharded model loads its parts."""
    stored = load_file(folder / _WEIGHTS)
    with torch.no_grad():
        for name, parameter in trainable_parameters(model).items():
            parameter.copy_(part_of(stored[name], parameter))


def publish(partial: Path, folder: Path) -> None:
    """Move a checkpoint from a temporary folder to ``folder``, then delete the older ones.

    If the process or machine stops at any moment, at least one complete checkpoint is left if there was one before.
    """
    older = list(folder.glob(f"{_PREFIX}*"))
    flush_folder(partial)
    partial.replace(folder / partial.name)
    for path in older:
        shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(partial.parent, ignore_errors=True)


def find_checkpoint(folder: Path, run_hash: str) -> Path | None:
    """Return the newest checkpoint, or None.

    Raises: ConfigError if it belongs to another run: other data, settings, design or seed.
    """
    newest = _newest(folder)
    if newest is None:
        return None
    stored = json.loads((newest / _RUN).read_text())["run"]
    if stored != run_hash:
        raise ConfigError(
            f"{newest} is a checkpoint of run {stored}",
            f"this is run {run_hash} (other data, settings, design or seed)",
            f"use another output folder, or delete {folder}",
        )
    return newest


def resumed_step(out: Path) -> int | None:
    """Return the step after which training into ``out`` resumes; None if there is no checkpoint."""
    newest = _newest(out / FOLDER)
    return None if newest is None else checkpoint_step(newest)


def _newest(folder: Path) -> Path | None:
    return max(folder.glob(f"{_PREFIX}*"), key=checkpoint_step, default=None)


def checkpoint_step(path: Path) -> int:
    """Return the number of steps done at a checkpoint, from its folder name."""
    return int(path.name.removeprefix(_PREFIX))
