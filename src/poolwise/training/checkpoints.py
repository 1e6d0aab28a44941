"""Checkpoints: only the trained parameters, written atomically, with the hash of their run and checksums of all files.

A checkpoint holds everything that a resumed training reads: also the records of steps and looks up to its own step.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor

from poolwise.errors import ConfigError, ModelError
from poolwise.storage.checksums import checksums, damages, files_below
from poolwise.storage.json_text import load_json
from poolwise.storage.whole_files import flush_folder, level_modes, write_bytes
from poolwise.training.optimizer import trainable_parameters
from poolwise.training.shards import part_of

logger = logging.getLogger(__name__)
_WEIGHTS, _RUN, _FILES = "trained.safetensors", "run.json", "files.json"
_PREFIX = "checkpoint-"
FOLDER = "checkpoints"
"""The folder of checkpoints inside the folder of a run."""
RECORDS = ("training.jsonl", "looks.json")
"""Files of a run's folder that go on growing: each checkpoint has a copy, from which a resumed training starts."""


def save_weights(weights: Mapping[str, Tensor], folder: Path, run_hash: str) -> None:
    """Write the trained parameters, as ``whole_weights`` returns them, and the hash of their run."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights), folder / _WEIGHTS)
    stored = {"run": run_hash, "weights": checksums(folder, [folder / _WEIGHTS])}
    (folder / _RUN).write_text(json.dumps(stored) + "\n")


def load_weights(model: SentenceTransformer, folder: Path) -> None:
    """Load stored parameters into the model, bit for bit; a rank of a sharded model loads its parts.

    Raises: ModelError where they are missing or damaged.
    """
    if problem := _damage_of_weights(folder):
        raise ModelError(
            f"{folder / problem}", "wanted the weights as they were saved", "run the same command again: it trains anew"
        )
    stored = load_file(folder / _WEIGHTS)
    with torch.no_grad():
        for name, parameter in trainable_parameters(model).items():
            parameter.copy_(part_of(stored[name], parameter))


def _damage_of_weights(folder: Path) -> str:
    try:
        recorded = load_json(folder / _RUN)["weights"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{_RUN} is missing or damaged"
    return next((f"{name} {problem}" for name, problem in damages(folder, recorded).items()), "")


def publish(partial: Path, folder: Path, needed: Sequence[Path] = ()) -> None:
    """Move a checkpoint from a temporary folder to ``folder``, then delete the older ones.

    If the process or machine stops at any moment, at least one complete checkpoint is left if there was one before.

    Args:
        folder: ``FOLDER`` in the folder of the run, whose ``RECORDS`` are copied into the checkpoint.
        needed: other files of the run that a training from this checkpoint reads.
    """
    out, target = folder.parent, folder / partial.name
    older = [path for path in folder.glob(f"{_PREFIX}*") if path != target]
    for name in RECORDS:
        if (out / name).is_file():
            shutil.copyfile(out / name, partial / name)
    recorded = {"step": checkpoint_step(partial), "files": checksums(partial, files_below(partial))}
    (partial / _FILES).write_text(json.dumps(recorded | {"needed": checksums(out, needed)}, indent=1) + "\n")
    level_modes(partial)
    flush_folder(partial)
    shutil.rmtree(target, ignore_errors=True)  # a damaged one, from which this training did not resume
    partial.replace(target)
    for path in older:
        shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(partial.parent, ignore_errors=True)


def find_checkpoint(folder: Path, run_hash: str) -> Path | None:
    """Return the newest checkpoint whose files are as they were written, or None; a warning names a damaged one.

    Raises: ConfigError if it belongs to another run: other data, settings, design or seed.
    """
    for path in _newest_first(folder):
        if damage := checkpoint_damage(path):
            logger.warning("%s: %s; training does not resume from this checkpoint", path, damage)
            continue
        stored = load_json(path / _RUN)["run"]
        if stored != run_hash:
            raise ConfigError(
                f"{path} is a checkpoint of run {stored}",
                f"this is run {run_hash} (other data, settings, design or seed)",
                f"use another output folder, or delete {folder}",
            )
        return path
    return None


def checkpoint_damage(path: Path, *, is_quick: bool = False) -> str:
    """Return what is wrong with a checkpoint, in words, with the name of the file; empty if it can be used.

    Args:
        is_quick: look at the sizes of files only.
    """
    try:
        stored = load_json(path / _FILES)
        step, files, needed = stored["step"], dict(stored["files"]), dict(stored["needed"])
    except FileNotFoundError:
        return f"{_FILES} with its checksums is missing (deleted, or written by an older version)"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{_FILES} with its checksums is damaged"
    if step != checkpoint_step(path) or not {_WEIGHTS, _RUN} <= files.keys():
        return f"{_FILES} belongs to another checkpoint"
    found = damages(path, files, is_quick=is_quick) | damages(path.parent.parent, needed, is_quick=is_quick)
    return next((f"{name} {problem}" for name, problem in found.items()), "")


def restore_records(checkpoint: Path, out: Path) -> None:
    """Set the records of a run back to what they were at a checkpoint; later steps are trained and recorded again."""
    for name in RECORDS:
        if (checkpoint / name).is_file():
            write_bytes(out / name, (checkpoint / name).read_bytes())


def resumed_step(out: Path) -> int | None:
    """Return the step after which training into ``out`` resumes; None if there is no checkpoint.

    Only the sizes of its files are compared here; training reads them.
    """
    whole = (path for path in _newest_first(out / FOLDER) if not checkpoint_damage(path, is_quick=True))
    newest = next(whole, None)
    return None if newest is None else checkpoint_step(newest)


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdecimal()]
    return sorted(found, key=checkpoint_step, reverse=True)


def checkpoint_step(path: Path) -> int:
    """Return the number of steps done at a checkpoint, from its folder name."""
    return int(path.name.removeprefix(_PREFIX))
