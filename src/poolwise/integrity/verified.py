"""What a check of a folder found, and the comparison of its files with recorded checksums."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field

from poolwise.records import Record
from poolwise.storage.checksums import damages, files_below, load_checksums
from poolwise.storage.fingerprints import SUMS


class Verified(Record):
    """What is wrong with the files of a folder. Paths are below it."""

    kind: str = Field(description="what the folder is, in words")
    folder: str
    num_checked: int = Field(description="files whose checksums were compared")
    damaged: dict[str, str] = Field(default={}, description="what is wrong with each damaged or missing file, in words")
    unlisted: list[str] = Field(default=[], description="files and folders that no record names; a folder ends in /")
    notes: list[str] = Field(default=[], description="what else the reader should know, in sentences")
    repair: str = Field(default="", description="what to do; empty where nothing is damaged")
    facts: dict[str, Any] = Field(default={}, description="what else was checked, by the kind of folder")


def compare_files(
    kind: str,
    folder: Path,
    recorded: Mapping[str, str],
    repair: str,
    *,
    damaged: Mapping[str, str] | None = None,
    known: Collection[str] = (),
    notes: Sequence[str] = (),
) -> Verified:
    """Return what differs from recorded checksums (``SIZE:SHA256`` by path), and what no record names.

    Args:
        damaged: what is known to be wrong already.
        known: files without checksums that belong to the folder, and folders that do, with all that is in them.
    """
    wrong = {**(damaged or {}), **damages(folder, recorded)}
    return Verified(
        kind=kind,
        folder=str(folder),
        num_checked=len(recorded),
        damaged=dict(sorted(wrong.items())),
        unlisted=unlisted_files(folder, {*recorded, *wrong, *known}),
        notes=list(notes),
        repair=repair if wrong else "",
    )


def unlisted_files(folder: Path, listed: Collection[str]) -> list[str]:
    """Return the files that are not listed; of a folder in which none is, its name only. Hidden files do not count."""
    parents = {str(parent) for name in listed for parent in PurePosixPath(name).parents}
    found: dict[str, None] = {}
    for path in files_below(folder):
        name = path.relative_to(folder)
        above = [str(parent) for parent in reversed(name.parents)][1:]  # without the folder itself
        if name.as_posix() in listed or any(parent in listed for parent in above):
            continue
        outside = next((parent for parent in above if parent not in parents), None)
        found[f"{outside}/" if outside else name.as_posix()] = None
    return list(found)


def recorded_in(folder: Path, within: str = "") -> tuple[dict[str, str], dict[str, str]]:
    """Return the checksums that a folder records of its files, and what is wrong with the record, in words.

    Args:
        within: a folder below it, whose record is read; names are below ``folder`` all the same.
    """
    at = f"{within}/" if within else ""
    try:
        found = load_checksums(folder / within) or {}
    except (OSError, ValueError):
        return {}, {f"{at}{SUMS}": "is damaged, so no file can be compared with it"}
    return {f"{at}{name}": known for name, known in found.items()}, {}
