"""Writes files and folders whole or not at all: under another name first, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from poolwise.storage.lock import LOCK, held

PARTIAL = ".partial"
"""The suffix of a file or folder that is being written; if the process is killed, only that is left behind."""
REPLACED = ".replaced"
"""The suffix of the folder that a new one replaces, between two renames and until it is deleted."""


def write_bytes(path: Path, raw: bytes) -> None:
    """Write a file, whole or not at all; missing folders are created.

    One process at a time may write it, so the caller holds a lock. The name of the partial file is always the same, so
    that what a killed process left goes with the next write.

    Law: at any moment, and after a crash of the machine, ``path`` holds its old content or all of ``raw``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    partial.unlink(missing_ok=True)  # a link of either kind would be followed, and what it leads to overwritten
    with partial.open("wb") as file:
        file.write(raw)
        file.flush()
        # Some file systems write the new name to disk before the content: a crash would leave an empty file.
        os.fsync(file.fileno())
    partial.replace(path)
    _flush_names(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8 as ``write_bytes`` does; line breaks are kept as they are."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write in parts; it gets its name when the block ends, and is deleted if the block fails.

    Several processes may write the same content at once. The folder must exist.
    """
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _flush_names(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(folder: Path, *, is_shared: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill; it is renamed to ``folder`` when the block ends, and deleted if the block fails.

    All files in it get the usual mode, as ``level_modes`` says.

    Law: a process that is killed at any moment leaves ``folder`` as it was, missing, or new. If it is missing and was
    there before, the next call puts it back.

    Args:
        is_shared: several processes may write the same content at once. The first to finish wins, the others change
            nothing. Otherwise ``folder`` is replaced, and what a killed earlier attempt left is deleted.
    Raises: OSError where it cannot be created or renamed; ConfigError where another process is writing it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext() if is_shared else held_from_beside(folder):
        yield from _filled(folder, is_shared)


def held_from_beside(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Hold the lock of a file, or of a folder that is made or replaced as a whole: its own file lies beside that.

    Raises: ConfigError where another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    return held(folder.with_name(f".{folder.name}{LOCK}"), folder)


def _filled(folder: Path, is_shared: bool) -> Iterator[Path]:
    partial = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}{PARTIAL}") if is_shared else _partial(folder)
    before = folder.with_name(f".{folder.name}{REPLACED}")
    if not is_shared:
        if before.is_dir() and not folder.exists():
            before.rename(folder)
        for left in (before, partial):
            _delete(left)
    partial.mkdir()
    try:
        yield partial
        level_modes(partial)
        flush_folder(partial)
        # Not deleted first: a process that is killed meanwhile would leave half of it under its name.
        if not is_shared and folder.is_dir():
            folder.rename(before)
        # If another process has just finished the folder, renaming fails and that folder is used.
        with contextlib.suppress(OSError) if is_shared else contextlib.nullcontext():
            partial.rename(folder)
        _flush_names(folder.parent)
        if not is_shared:
            _delete(before)
    finally:
        _delete(partial)


def _delete(folder: Path) -> None:
    """Delete a folder, or the link to one, if it is there."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def level_modes(folder: Path) -> None:
    """Give every file below a folder the mode of a new file: safetensors creates its files for their owner alone."""
    probe = folder / f".{secrets.token_hex(4)}{PARTIAL}"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def flush_folder(folder: Path) -> None:
    """Flush every file below a folder, and all names, to the disk, which is needed before the folder is renamed."""
    for path in folder.rglob("*"):
        if path.is_file():
            flush_file(path)
        elif path.is_dir():
            _flush_names(path)
    _flush_names(folder)


def flush_file(path: Path) -> None:
    """Flush a closed file to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_names(folder: Path) -> None:
    """Flush the names in a folder: without it, a crash of the machine may undo a rename that was reported as done."""
    with contextlib.suppress(OSError):  # not every file system has this, and none loses data without it
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)
