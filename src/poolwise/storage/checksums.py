"""Checksums of written files: recorded when they are finished, compared before they are used again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from poolwise.storage.fingerprints import file_hash


def checksums(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return ``SIZE:SHA256`` of files by their path below ``root``, sorted."""
    return {path.relative_to(root).as_posix(): _checksum(path) for path in sorted(paths)}


def files_below(folder: Path) -> list[Path]:
    """Return every file below a folder, but hidden ones such as locks."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]


def damages(root: Path, recorded: Mapping[str, str], *, is_quick: bool = False) -> dict[str, str]:
    """Return what is wrong with each file that is not as it was recorded, in words, by its path; empty if all are.

    Args:
        recorded: from ``checksums`` with the same root.
        is_quick: compare sizes only, without reading the files.
    """
    return {name: problem for name, known in recorded.items() if (problem := _damage(root / name, known, is_quick))}


def _checksum(path: Path) -> str:
    return f"{path.stat().st_size}:{file_hash(path)}"


def _damage(path: Path, known: str, is_quick: bool) -> str:
    if not path.is_file():
        return "is missing"
    with contextlib.suppress(ValueError):
        if (size := path.stat().st_size) != (wanted := int(known.partition(":")[0])):
            return f"has {size:,} bytes instead of {wanted:,}"
    try:
        return "" if is_quick or _checksum(path) == known else "has other contents than when it was written"
    except OSError as error:
        return f"cannot be read: {error.strerror or type(error).__name__}"
