"""Reads the rows of a task's files, in any format, and collects their problems with file and line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poolwise.errors import DataError
from poolwise.storage.json_lines import Unreadable
from poolwise.storage.row_files import TEXT_SUFFIXES, is_table, iter_rows
from poolwise.storage.row_problems import RowProblems, absent_columns
from poolwise.wording import is_unicode

FORMS = "{stem}.jsonl, {stem}.csv or {stem}.tsv, plain or .gz"
"""The file names that may hold rows, for messages."""


@dataclass(frozen=True)
class RowFile:
    """A file of rows. ``columns`` maps our field names to the file's column names where they differ."""

    path: Path
    columns: Mapping[str, Sequence[str]]
    problems: RowProblems

    @property
    def is_table(self) -> bool:
        """Whether every value is a text; then numbers are parsed, and lists are read from several columns."""
        return is_table(self.path)

    def name_of(self, key: str) -> str:
        """Return the file's name of one of our fields."""
        return next(iter(self.columns.get(key, ())), key)

    def names_of(self, key: str, found: Iterable[str]) -> list[str]:
        """Return the columns that hold one of our lists: those named, else ``key``, ``key_1``, ``key_2`` ..."""
        if key in self.columns:
            return list(self.columns[key])
        numbered = {name: re.fullmatch(rf"{re.escape(key)}(?:_(\d{{1,9}}))?", name) for name in found}
        return sorted((name for name, match in numbered.items() if match), key=lambda name: _number_of(numbered[name]))


def _number_of(match: re.Match[str] | None) -> int:
    return int(match[1] or 0) if match else 0


@dataclass(frozen=True)
class Row:
    """One row of a file. A getter without a usable value adds a problem and returns an empty value."""

    file: RowFile
    line: int
    fields: dict[str, Any]

    def problem(self, text: str) -> None:
        self.file.problems.note(self.line, text)

    def has(self, key: str) -> bool:
        return self.fields.get(self.file.name_of(key)) is not None

    def text(self, key: str, *, may_be_empty: bool = False) -> str:
        name = self.file.name_of(key)
        if may_be_empty and name in self.fields and self.fields[name] is None:
            return ""
        value = self._get(name)
        return self._text(value, repr(name), may_be_empty) if value is not None else ""

    def texts(self, key: str) -> tuple[str, ...]:
        if self.file.is_table or key in self.file.columns:
            values = [(name, self.fields.get(name)) for name in self.file.names_of(key, self.fields)]
            items = [(name, item) for name, value in values for item in (value if isinstance(value, list) else [value])]
            return tuple(self._text(item, repr(name)) for name, item in items if item is not None)
        value = self._get(key)
        if value is not None and not isinstance(value, list):
            self.problem(f"{key!r} is not a list of texts: {_short(value)}")
        return tuple(self._text(item, f"an item of {key!r}") for item in value) if isinstance(value, list) else ()

    def number(self, key: str) -> float:
        name = self.file.name_of(key)
        value = self._get(name)
        if value is None:
            return 0.0
        number = _parsed(value) if self.file.is_table else value
        found = None if isinstance(number, bool) or not isinstance(number, int | float) else _as_float(number)
        if found is None or not math.isfinite(found):
            self.problem(f"{name!r} is not a finite number: {_short(value)}")
            return 0.0
        return found

    def name(self, key: str) -> str:
        """Return a label or an id (a text or a whole number) as text."""
        name = self.file.name_of(key)
        value = self._get(name)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            self.problem(f"{name!r} is neither a text nor a whole number: {_short(value)}")
        return self._unicode(str(value), repr(name))

    def group(self) -> str | None:
        return self.name("group") if self.has("group") else None

    def _get(self, name: str) -> Any:
        value = self.fields.get(name)
        if value is None and name in self.fields:
            self.problem(f"{name!r} is empty")
        elif value is None:
            self.problem(f"field {name!r} is missing (found {', '.join(sorted(self.fields)) or 'none'})")
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


def find_files(folder: Path, stem: str) -> list[Path]:
    """Return the files in ``folder`` with the rows named ``stem``; there should be exactly one."""
    return [path for suffix in TEXT_SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()]


def shown_entries(folder: Path) -> str:
    """Return the first ten names in a folder, for a message."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir() if not entry.name.startswith("."))
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "nothing"


def read_rows(file: RowFile, fields: Sequence[str], lists: Sequence[str] = ()) -> list[Row]:
    """Return the rows of a file; a row that is unreadable or not an object is left out and reported.

    A field that no row has is reported once for the file, and then no rows are returned.

    Args:
        fields: our fields that every row must have.
        lists: the fields that hold several texts.
    """
    rows: list[Row] = []
    found: dict[str, None] = {}
    problems = file.problems
    try:
        for line, row in iter_rows(file.path):
            problems.num_rows += 1
            if isinstance(row, dict):
                found |= dict.fromkeys(row)
                rows.append(Row(file, line, row))
            elif isinstance(row, Unreadable):
                problems.note(line, row.reason)
            else:
                problems.note(line, f"wanted a JSON object, got {_short(row)}")
        if problems.num_rows == 0:
            problems.note_file(f"{file.path}: holds no rows")
    except DataError as error:
        problems.note_file(str(error))
    if absent := _absent(file, fields, lists, found) if rows else {}:
        example = f"columns: {{{', '.join(f'{name}: NAME' for name in absent)}}}"
        remedy = "correct `columns` in task.yaml" if file.columns else f"name the columns in task.yaml: {example}"
        problems.note_file(absent_columns(str(file.path), found, absent, remedy))
    return [] if absent else rows


def _absent(file: RowFile, fields: Sequence[str], lists: Sequence[str], found: Mapping[str, None]) -> dict[str, str]:
    """Return the columns that no row has, and in words why they are needed."""
    told = {}
    for key in dict.fromkeys((*fields, *file.columns)):
        takes_several = key in lists and (file.is_table or key in file.columns)
        names = file.names_of(key, found) if takes_several else [file.name_of(key)]
        for name in names or [key]:
            if name not in found:
                told[name] = f"`columns` names {name!r} as {key}" if key in file.columns else f"wanted {name!r}"
    return told


def _parsed(text: object) -> float | None:
    try:
        # Python parses 1_000 as a number, but in a table it is not meant as one.
        return float(text) if isinstance(text, str) and "_" not in text else None
    except ValueError:
        return None


def _as_float(number: float) -> float | None:
    try:
        return float(number)
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
