"""The check of a folder that is written anew: it may not exist yet, or be empty."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from poolwise.errors import ConfigError
from poolwise.storage.lock import LOCK
from poolwise.storage.whole_files import PARTIAL

_HINT = "give a new or empty folder"


def require_new_folder(folder: Path, wanted: str = "", but: Container[str] = ()) -> None:
    """Check that a folder does not exist or is empty; what a killed process left, a lock or a partial file, is nothing.

    Args:
        wanted: what the folder should hold if it is not new, such as "study", for the message.
        but: names that it may hold.
    Raises: ConfigError where it is a file or holds anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file", "wanted a folder", _HINT)
    if held_names(folder, but):
        raise ConfigError(f"{folder} is not empty{f' and holds no {wanted}' if wanted else ''}", hint=_HINT)


def held_names(path: Path, but: Container[str] = ()) -> list[str]:
    """Return what a folder holds, sorted: nothing if it is missing, its own name if it is a file.

    What a killed process left is not counted.

    Args:
        but: names that are not counted either.
    """
    if not path.is_dir():
        return [path.name] if path.exists() else []
    names = sorted(entry.name for entry in path.iterdir())
    return [name for name in names if name not in but and name != LOCK and not name.endswith(PARTIAL)]
