"""Parsing of JSON that may be damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def parse_json(text: str) -> Any:
    """Return the value of a JSON text. Raises: ValueError for anything else, thousands of nested brackets included."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def load_json(path: Path) -> Any:
    """Return the value in a JSON file in UTF-8. Raises: OSError or ValueError where it cannot be read."""
    return parse_json(path.read_text(encoding="utf-8"))
