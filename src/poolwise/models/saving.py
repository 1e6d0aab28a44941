"""Saving of a model into a folder: whole or not at all, and never over files that are not a model's."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from poolwise.errors import ModelError, is_disk_full
from poolwise.models.saved_folder import CONFIG, INCLUDED_BASE, MODULES, is_model_part, is_poolwise_model
from poolwise.storage.checksums import save_checksums
from poolwise.storage.fingerprints import file_hash
from poolwise.storage.new_folders import require_new_folder
from poolwise.storage.whole_files import PARTIAL, flush_folder, held_from_beside, level_modes, whole_folder


@contextlib.contextmanager
def whole_model(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to save a model into; its files are moved to ``folder`` when the block ends.

    If the block fails, ``folder`` is as it was. An earlier model there is replaced; files that are not a model's, such
    as scores, stay. If the process is killed while files are moved, the folder has no ``poolwise.json`` and does not
    load.

    Raises: ConfigError where ``folder`` holds something other than a poolwise model, or another process is writing it;
        ModelError where the disk is full.
    """
    _require_free(folder)
    try:
        if not folder.exists():
            with whole_folder(folder) as partial:
                yield partial
                save_checksums(partial)
            return
        # A mounted folder may be writable where its parent is not.
        with held_from_beside(folder) if os.access(folder.parent, os.W_OK) else contextlib.nullcontext():
            yield from _replaced(folder)
    except (OSError, SafetensorError) as error:
        if not is_disk_full(error):
            raise
        raise ModelError(
            f"cannot save the model into {folder}: the disk is full",
            "wanted room for its weights; nothing was written",
            "free some space, or save into another folder",
        ) from error


def _replaced(folder: Path) -> Iterator[Path]:
    partial = folder / f".model{PARTIAL}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        save_checksums(partial)
        level_modes(partial)
        flush_folder(partial)
        _move(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _require_free(folder: Path) -> None:
    if not _is_ours(folder):
        require_new_folder(folder, "saved model")


def _is_ours(folder: Path) -> bool:
    # Between the two files a killed save leaves only the second.
    modules = folder / MODULES
    return is_poolwise_model(folder) or (modules.is_file() and '"poolwise.' in modules.read_text(encoding="utf-8"))


def _move(partial: Path, folder: Path) -> None:
    """Replace the model in ``folder`` by the one in ``partial``; ``poolwise.json``, which makes it a model, is last."""
    (folder / CONFIG).unlink(missing_ok=True)
    for entry in list(folder.iterdir()):
        if entry.name != MODULES and is_model_part(entry.name):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    order = {MODULES: 0, CONFIG: 2}
    for entry in sorted(partial.iterdir(), key=lambda entry: order.get(entry.name, 1)):
        entry.replace(folder / entry.name)


def weight_hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every file of trained weights in a saved model, by its path; the base is not among them."""
    return {
        path.relative_to(folder).as_posix(): file_hash(path)
        for path in sorted(folder.rglob("*.safetensors"))
        if path.relative_to(folder).parts[0] != INCLUDED_BASE
    }
