"""Checksums of written files: recorded when they are finished, compared before they are used again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from poolwise.storage.fingerprints import ABOUT, SUMS, file_hash
from poolwise.storage.inside import require_inside
from poolwise.storage.json_text import load_json
from poolwise.storage.whole_files import write_text

MISSING = "is missing"
CHANGED = "has other contents than when it was written"


def checksums(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return ``SIZE:SHA256`` of files by their path below ``root``, sorted."""
    return {path.relative_to(root).as_posix(): _checksum(path) for path in sorted(paths)}


def save_checksums(folder: Path, paths: Iterable[Path] | None = None) -> None:
    """Write ``SUMS`` into a folder, with the checksums of ``paths``.

    Args:
        paths: files below the folder; None takes all, without those ``ABOUT`` it.
    """
    chosen = [path for path in files_below(folder) if path.name not in ABOUT] if paths is None else paths
    write_checksums(folder, checksums(folder, chosen))


def add_checksums(folder: Path, paths: Iterable[Path]) -> None:
    """Write the checksums of ``paths`` into ``SUMS`` of a folder, beside those that it has of other files.

    Raises: OSError or ValueError where ``SUMS`` cannot be read.
    """
    write_checksums(folder, (load_checksums(folder) or {}) | checksums(folder, paths))


def write_checksums(folder: Path, found: Mapping[str, str]) -> None:
    """Write checksums that ``checksums`` returned into ``SUMS`` of their folder."""
    write_text(folder / SUMS, json.dumps(found, indent=1, sort_keys=True) + "\n")


def load_checksums(folder: Path) -> dict[str, str] | None:
    """Return what ``save_checksums`` recorded; None where there is no such file.

    Raises: OSError or ValueError where it cannot be read.
    """
    try:
        found = load_json(folder / SUMS)
    except FileNotFoundError:
        return None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("wanted checksums by the names of files")
    return found


def files_below(folder: Path) -> list[Path]:
    """Return every file below a folder, but hidden ones such as locks."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]


def damages(root: Path, recorded: Mapping[str, str], *, is_quick: bool = False) -> dict[str, str]:
    """Return what is wrong with each file that is not as it was recorded, in words, by its path; empty if all are.

    Args:
        recorded: from ``checksums`` with the same root.
        is_quick: compare sizes only, without reading the files.
    """
    return {name: problem for name, known in recorded.items() if (problem := _damage(root, name, known, is_quick))}


def _checksum(path: Path) -> str:
    return f"{path.stat().st_size}:{file_hash(path)}"


def _damage(root: Path, name: str, known: str, is_quick: bool) -> str:
    try:
        path = root / require_inside(name)
    except ValueError:
        return "leads out of the folder"
    if not path.is_file():
        return MISSING
    with contextlib.suppress(ValueError):
        if (size := path.stat().st_size) != (wanted := int(known.partition(":")[0])):
            return f"has {size:,} bytes instead of {wanted:,}"
    try:
        return "" if is_quick or _checksum(path) == known else CHANGED
    except OSError as error:
        return f"cannot be read: {error.strerror or type(error).__name__}"
