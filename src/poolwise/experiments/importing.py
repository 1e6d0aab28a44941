"""Imports traffic that runs elsewhere: tables with a row for each exposure, or for each piece of feedback."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poolwise.errors import ConfigError, DataError, nearest
from poolwise.experiments.events import FEEDBACK, Feedback, check_feedback
from poolwise.experiments.log import SET_ASIDE, EventLog
from poolwise.storage.json_lines import Unreadable
from poolwise.storage.row_files import SUFFIXES, iter_rows
from poolwise.wording import listed

EXPOSURES, OF_FEEDBACK = ("user", "arm", "time"), ("exposure", "event", "time")
"""The columns that a table of exposures must have, and one of feedback, which is told by its first two."""
OPTIONAL = ("id", "latency", "error", "covariate", *FEEDBACK, "value", "item")
_TRUE, _FALSE = ("1", "1.0", "true", "yes"), ("", "0", "0.0", "false", "no", "none")


@dataclass(frozen=True)
class Imported:
    """What an import did: rows that counted, rows that were in the log already, and rows that were set aside."""

    counted: int
    repeated: int
    set_aside: list[str]


@dataclass(frozen=True)
class _Row:
    line: int
    time: float
    cells: Mapping[str, Any]
    is_feedback: bool


def import_log(log: EventLog, path: Path, columns: Mapping[str, str] | None = None) -> Imported:
    """Write the rows of a CSV, TSV, JSON lines or parquet file to a log, in the order of their times.

    A row is an exposure: ``user``, ``arm`` and ``time`` (seconds since 1970, or ISO 8601), and where there are such
    columns ``id``, ``latency`` (ms), ``error``, ``covariate``, ``click`` (0 or 1), ``rating`` and ``conversion`` (its
    value). In a table with the columns ``exposure`` and ``event``, a row is feedback on the exposure of that id, with
    ``time`` and, if there, ``value`` (1), ``item`` and ``id``.

    A row that was imported before is counted once. A row that cannot be used is set aside with its reason, and nothing
    of it is written.

    Args:
        columns: the file's column for a name of ours, where they differ.
    Raises: ConfigError for an unknown name in ``columns``; DataError where the file cannot be read, lacks a required
        column, or has no row that can be used.
    """
    names = _columns(columns or {})
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path}: unknown kind of file", f"wanted one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path} is no file", "wanted a table with a row for each exposure")
    bad: list[tuple[int, str]] = []
    rows = sorted(_read(path, names, bad), key=lambda row: row.time)
    taken: Counter[str] = Counter()
    seen: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        try:
            write = _write_feedback if row.is_feedback else _write_exposure
            taken[write(log, row, seen)] += 1
        except DataError as error:
            bad.append((row.line, str(error)))
    reasons = [f"{path}:{line}: {reason}" for line, reason in sorted(bad)]
    _set_aside(log, reasons)
    if not rows or len(taken) == 0:
        first = f"; the first reason: {reasons[0]}" if reasons else ""
        raise DataError(f"{path} has no row that can be used ({len(reasons)} set aside){first}")
    return Imported(taken["counted"], taken["repeated"], reasons)


def _columns(given: Mapping[str, str]) -> dict[str, str]:
    known = tuple(dict.fromkeys((*EXPOSURES, *OF_FEEDBACK, *OPTIONAL)))
    if (unknown := next((name for name in given if name not in known), None)) is not None:
        raise ConfigError(f"column {unknown!r} is not a name of ours", nearest(unknown, known))
    return {name: given.get(name, name) for name in known}


def _read(path: Path, names: Mapping[str, str], bad: list[tuple[int, str]]) -> Iterator[_Row]:
    is_feedback: bool | None = None
    for line, row in iter_rows(path):
        if isinstance(row, Unreadable) or not isinstance(row, Mapping):
            bad.append((line, row.reason if isinstance(row, Unreadable) else "the row is no mapping of columns"))
            continue
        if is_feedback is None:
            is_feedback = all(names[name] in row for name in OF_FEEDBACK[:2])
            _require_columns(path, row, names, OF_FEEDBACK if is_feedback else EXPOSURES)
        cells = {name: row.get(column) for name, column in names.items()}
        try:
            yield _Row(line, _time(cells["time"]), cells, is_feedback)
        except ValueError as error:
            bad.append((line, str(error)))


def _require_columns(path: Path, row: Mapping[str, Any], names: Mapping[str, str], wanted: Sequence[str]) -> None:
    if absent := [names[name] for name in wanted if names[name] not in row]:
        raise DataError(
            f"{path} has the columns {', '.join(map(str, row))}; it lacks {', '.join(absent)}",
            f"wanted {listed(wanted)}",
            f"name yours with --columns {','.join(f'{name}=COLUMN' for name in wanted)}",
        )


def _write_feedback(log: EventLog, row: _Row, seen: Counter[tuple[str, ...]]) -> str:
    cells = row.cells
    exposure, event, item = (_text(cells[name]) for name in ("exposure", "event", "item"))
    try:
        value = _number("value", cells["value"])
    except ValueError as error:
        raise DataError(str(error)) from error
    name = _text(cells["id"]) or _name_of(row, seen, exposure, event, item, str(value))
    return log.feedback(Feedback(name, exposure, event, 1.0 if value is None else value, item or None), row.time)


def _write_exposure(log: EventLog, row: _Row, seen: Counter[tuple[str, ...]]) -> str:
    cells = row.cells
    user, arm = _key(cells["user"]), _text(cells["arm"])
    if not user or not arm:
        raise DataError(f"{'user' if not user else 'arm'} is empty")
    try:
        numbers = {name: _number(name, cells[name]) for name in ("latency", "covariate", "rating", "conversion")}
        is_error, is_clicked = (_flag(name, cells[name]) for name in ("error", "click"))
    except ValueError as error:
        raise DataError(str(error)) from error
    name = _text(cells["id"]) or _name_of(row, seen, user, arm)
    values = {"click": 1.0 if is_clicked else None, "rating": numbers["rating"], "conversion": numbers["conversion"]}
    given = [Feedback(f"{name}:{event}", name, event, value) for event, value in values.items() if value is not None]
    for feedback in given:
        check_feedback(feedback, log.design)
    _, taken = log.expose(
        user,
        arm,
        id=name,
        time=row.time,
        latency=numbers["latency"],
        error=is_error,
        covariate=numbers["covariate"],
    )
    for feedback in given:
        log.feedback(feedback, row.time)
    return taken


def _name_of(row: _Row, seen: Counter[tuple[str, ...]], *parts: str) -> str:
    """Return an id made of the row, so that a file that is imported again counts once."""
    key = (*parts, repr(row.time))
    seen[key] += 1
    return hashlib.sha256("\x1f".join((*key, str(seen[key]))).encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _set_aside(log: EventLog, reasons: Sequence[str]) -> None:
    if reasons:
        with (log.folder / SET_ASIDE).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"reason": reason}) + "\n" for reason in reasons)


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _key(value: object) -> str:
    """Return a user's key; a table whose column lacks some numbers holds the others as 17.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else _text(value)


def _time(value: object) -> float:
    if isinstance(value, datetime.datetime):
        moment = value
    else:
        text = _text(value)
        try:
            seconds = float(text)
        except ValueError:
            try:
                moment = datetime.datetime.fromisoformat(text)
            except ValueError:
                raise ValueError(f"time {text!r} is neither seconds since 1970 nor ISO 8601") from None
        else:
            if not math.isfinite(seconds):
                raise ValueError(f"time is {text}")
            return seconds
    # A time without a zone is taken as UTC: the same file gives the same log on every machine.
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def _number(name: str, value: object) -> float | None:
    text = _text(value)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{name} {text!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} is {text}")
    return number


def _flag(name: str, value: object) -> bool:
    text = _text(value).lower()
    if text not in (*_TRUE, *_FALSE):
        raise ValueError(f"{name} {text!r} is neither 0 nor 1")
    return text in _TRUE
