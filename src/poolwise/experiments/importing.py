"""Imports exposures and feedback of traffic that runs elsewhere: one row of a table per exposure."""

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
from poolwise.experiments.events import FEEDBACK, Feedback
from poolwise.experiments.log import SET_ASIDE, EventLog
from poolwise.storage.json_lines import Unreadable
from poolwise.storage.row_files import SUFFIXES, iter_rows

REQUIRED = ("user", "arm", "time")
OPTIONAL = ("id", "latency", "error", "covariate", *FEEDBACK)
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


def import_log(log: EventLog, path: Path, columns: Mapping[str, str] | None = None) -> Imported:
    """Write the rows of a CSV, TSV, JSON lines or parquet file to a log, in the order of their times.

    A row is an exposure: ``user``, ``arm`` and ``time`` (seconds since 1970, or ISO 8601), and where there are such
    columns ``id``, ``latency`` (ms), ``error``, ``covariate``, ``click`` (0 or 1), ``rating`` and ``conversion`` (its
    value). A row that was imported before is counted once. A row that cannot be used is set aside with its reason.

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
            taken[_write(log, row, seen)] += 1
        except DataError as error:
            bad.append((row.line, str(error)))
    reasons = [f"{path}:{line}: {reason}" for line, reason in sorted(bad)]
    _set_aside(log, reasons)
    if not rows or len(taken) == 0:
        first = f"; the first reason: {reasons[0]}" if reasons else ""
        raise DataError(f"{path} has no row that can be used ({len(reasons)} set aside){first}")
    return Imported(taken["counted"], taken["repeated"], reasons)


def _columns(given: Mapping[str, str]) -> dict[str, str]:
    known = (*REQUIRED, *OPTIONAL)
    if unknown := next((name for name in given if name not in known), None):
        raise ConfigError(f"column {unknown!r} is not a name of ours", nearest(unknown, known))
    return {name: given.get(name, name) for name in known}


def _read(path: Path, names: Mapping[str, str], bad: list[tuple[int, str]]) -> Iterator[_Row]:
    for number, (line, row) in enumerate(iter_rows(path)):
        if isinstance(row, Unreadable) or not isinstance(row, Mapping):
            bad.append((line, row.reason if isinstance(row, Unreadable) else "the row is no mapping of columns"))
            continue
        if number == 0 and (absent := [names[name] for name in REQUIRED if names[name] not in row]):
            raise DataError(
                f"{path} has the columns {', '.join(map(str, row))}; it lacks {', '.join(absent)}",
                "wanted user, arm and time",
                "name yours with --columns user=COLUMN,arm=COLUMN,time=COLUMN",
            )
        cells = {name: row.get(column) for name, column in names.items()}
        try:
            yield _Row(line, _time(cells["time"]), cells)
        except ValueError as error:
            bad.append((line, str(error)))


def _write(log: EventLog, row: _Row, seen: Counter[tuple[str, ...]]) -> str:
    cells = row.cells
    user, arm = _text(cells["user"]), _text(cells["arm"])
    if not user or not arm:
        raise DataError(f"{'user' if not user else 'arm'} is empty")
    try:
        numbers = {name: _number(name, cells[name]) for name in ("latency", "covariate", "rating", "conversion")}
        is_error, is_clicked = (_flag(name, cells[name]) for name in ("error", "click"))
    except ValueError as error:
        raise DataError(str(error)) from error
    name = _text(cells["id"]) or _name_of(row, user, arm, seen)
    values = {"click": 1.0 if is_clicked else None, "rating": numbers["rating"], "conversion": numbers["conversion"]}
    exposure, taken = log.expose(
        user,
        arm,
        id=name,
        time=row.time,
        latency=numbers["latency"],
        error=is_error,
        covariate=numbers["covariate"],
    )
    for event, value in values.items():
        if value is not None:
            log.feedback(Feedback(f"{name}:{event}", exposure.id, event, value), row.time)
    return taken


def _name_of(row: _Row, user: str, arm: str, seen: Counter[tuple[str, ...]]) -> str:
    """Return an id made of the row, so that a file that is imported again counts once."""
    key = (user, arm, repr(row.time))
    seen[key] += 1
    return hashlib.sha256("\x1f".join((*key, str(seen[key]))).encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _set_aside(log: EventLog, reasons: Sequence[str]) -> None:
    if reasons:
        with (log.folder / SET_ASIDE).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"reason": reason}) + "\n" for reason in reasons)


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


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
