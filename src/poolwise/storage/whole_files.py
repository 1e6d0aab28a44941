"""Files and folders written whole or not at all: written aside, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

PARTIAL = ".partial"
"""Ends the name of what is being written; a kill in the middle leaves that and nothing else."""


def write_bytes(path: Path, raw: bytes) -> None:
    """Write a file, whole or not at all; missing folders are made.

    Law: at any moment, and after a crash of the machine, ``path`` holds what it held before or all of ``raw``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    with partial.open("wb") as file:
        file.write(raw)
        file.flush()
        # Some file systems put the new name on disk before the content: a crash would leave an empty file.
        os.fsync(file.fileno())
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8 as ``write_bytes`` does; line ends stay as they are."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def whole_folder(folder: Path, *, is_shared: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill, which becomes ``folder`` when the block ends and goes when the block fails.

    Args:
        is_shared: several processes may write the same content at once. The first to finish wins, the others change
            nothing. Otherwise ``folder`` is replaced, and what a kill left of an earlier try goes.
    Raises: OSError where it cannot be made or renamed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}{PARTIAL}") if is_shared else _partial(folder)
    if not is_shared:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        flush_folder(partial)
        if not is_shared:
            shutil.rmtree(folder, ignore_errors=True)
        # Renaming onto a folder that another process has just finished fails, and then that one serves.
        with contextlib.suppress(OSError) if is_shared else contextlib.nullcontext():
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Put every file below a folder on the disk, as a folder needs it before it is renamed."""
    for path in folder.rglob("*"):
        if path.is_file():
            flush_file(path)


def flush_file(path: Path) -> None:
    """Put a file that was written and closed on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _partial(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)
