"""Rows of a task's files; what is wrong with them is noted, with file and line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poolwise.data.dialects import is_unicode
from poolwise.errors import DataError
from poolwise.storage.json_lines import Unreadable, iter_json_lines


@dataclass(frozen=True)
class Row:
    """One row of a file. A getter that finds no usable value notes the problem and returns an empty one."""

    path: Path
    line: int
    fields: dict[str, Any]
    problems: list[str] = field(repr=False)

    def problem(self, text: str) -> None:
        self.problems.append(f"{self.path}:{self.line}: {text}")

    def text(self, key: str, *, may_be_empty: bool = False) -> str:
        value = self._get(key)
        return self._text(value, repr(key), may_be_empty) if value is not None else ""

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._get(key)
        if value is not None and not isinstance(value, list):
            self.problem(f"{key!r} is not a list of texts: {_short(value)}")
        return tuple(self._text(item, f"an item of {key!r}") for item in value) if isinstance(value, list) else ()

    def number(self, key: str) -> float:
        value = self._get(key)
        if value is None:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.problem(f"{key!r} is not a finite number: {_short(value)}")
            return 0.0
        return float(value)

    def name(self, key: str) -> str:
        """Return a label or an id: a text or a whole number, as text."""
        value = self._get(key)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            self.problem(f"{key!r} is neither a text nor a whole number: {_short(value)}")
        return self._unicode(str(value), repr(key))

    def group(self) -> str | None:
        return self.name("group") if self.fields.get("group") is not None else None

    def _get(self, key: str) -> Any:
        value = self.fields.get(key)
        if value is None:
            self.problem(f"lacks the field {key!r} (has {', '.join(sorted(self.fields)) or 'none'})")
        return value

    def _text(self, value: object, what: str, may_be_empty: bool = False) -> str:
        if not isinstance(value, str):
            self.problem(f"{what} is not a text: {_short(value)}")
            return ""
        if not may_be_empty and not value.strip():
            self.problem(f"{what} is empty")
        return self._unicode(value, what)

    def _unicode(self, value: str, what: str) -> str:
        if not is_unicode(value):
            self.problem(f"{what} holds half a surrogate pair, which cannot be written as UTF-8")
        return value


def find_rows(folder: Path, stem: str) -> Path | None:
    """Return ``<stem>.jsonl.gz`` or ``<stem>.jsonl`` in ``folder``; None where neither is there."""
    return next((path for suffix in (".jsonl.gz", ".jsonl") if (path := folder / f"{stem}{suffix}").is_file()), None)


def iter_rows(path: Path, problems: list[str]) -> Iterator[Row]:
    """Yield the rows of a JSON-lines file; a line that is not a JSON object is noted and left out."""
    before = len(problems)
    empty = True
    try:
        for line, fields in iter_json_lines(path):
            empty = False
            if isinstance(fields, dict):
                yield Row(path, line, fields, problems)
            elif isinstance(fields, Unreadable):
                problems.append(f"{path}:{line}: {fields.reason}")
            else:
                problems.append(f"{path}:{line}: a JSON object was wanted, got {_short(fields)}")
    except DataError as error:
        problems.append(str(error))
    if empty and len(problems) == before:
        problems.append(f"{path}: holds no rows")


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
