"""Output folders: checks that they can be written and what they hold; and their JSON files, written atomically."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poolwise.errors import ConfigError, EvalError
from poolwise.storage.json_text import load_json
from poolwise.storage.whole_files import write_text


def require_writable(out: Path) -> None:
    """Make ``out`` a writable folder, or fail now rather than after hours.

    Raises: ConfigError where it is a file, or cannot be created or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"cannot write into {out}: {reason}", hint="give another folder as --out") from error


ANOTHER = "give another --out, or delete this folder: nothing else says which settings it was made with"
"""The hint for a damaged file of settings without which a folder's results cannot be attributed."""


def read_json(path: Path, hint: str = "delete it and run the same command again") -> dict[str, Any]:
    """Return the object in a JSON file written by poolwise.

    Args:
        hint: what to do if it is damaged; without some files a folder belongs to nobody, and deleting them is no help.

    Raises: EvalError where it cannot be read or is damaged.
    """
    try:
        found = load_json(path)
    except (OSError, ValueError) as error:
        raise EvalError(f"cannot read {path}: {error}", hint=hint) from error
    if not isinstance(found, dict):
        raise EvalError(f"{path} holds {type(found).__name__}", "wanted an object", hint)
    return found


def write_json(path: Path, value: object) -> None:
    """Write a JSON file, whole or not at all, so that a study killed here can resume."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def differing_keys(mine: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    """Return the keys of ``mine`` whose values are different in ``theirs``."""
    return sorted(key for key in mine if mine[key] != theirs.get(key))
