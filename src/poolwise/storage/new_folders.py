"""The check of a folder that is written anew: it may not exist yet, or be empty."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from poolwise.errors import ConfigError
from poolwise.storage.lock import LOCK
from poolwise.storage.whole_files import PARTIAL


def require_new_folder(folder: Path, wanted: str = "", but: Container[str] = ()) -> None:
    """Check that a folder does not exist or is empty; what a killed process left, a lock or a partial file, is nothing.

    Args:
        wanted: what the folder should hold if it is not new, such as "study", for the message.
        but: names that it may hold.
    Raises: ConfigError where it is a file or holds anything else.
    """
    if not folder.exists():
        return
    hint = "give a new or empty folder"
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file", "wanted a folder", hint)
    if any(_counts(entry, but) for entry in folder.iterdir()):
        raise ConfigError(f"{folder} is not empty{f' and holds no {wanted}' if wanted else ''}", hint=hint)


def _counts(entry: Path, but: Container[str]) -> bool:
    return entry.name not in but and entry.name != LOCK and entry.suffix != PARTIAL
