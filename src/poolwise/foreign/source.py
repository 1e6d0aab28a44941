"""One input of ``poolwise compare``, and how files of other tools are opened."""

from __future__ import annotations

import codecs
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from poolwise.errors import DataError, EvalError
from poolwise.records import Category, ItemScores, Run, RunManifest
from poolwise.storage.inflate import READ_ERRORS, open_binary, read_inflated

CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Bytes that no text in latin-1 has."""
CUT = "is the file complete? copy or create it again"
KINDS = {
    "poolwise": "runs of poolwise",
    "mteb-results": "MTEB results",
    "mteb-predictions": "MTEB predictions",
    "trec": "TREC run",
    "csv": "table of scores",
    "qrels": "relevance judgements",
}


NO_METRIC = "score"
"""The metric of a table's tasks whose category is not known."""
UNCHECKED = ("mteb", "csv")
"""First words of fingerprints that were not computed from data."""


@dataclass
class Source:
    """One input: its runs, and in words what was not read from it.

    ``left_out`` maps a reason to what was left out for it; ``notes`` are limitations for the report. ``declared``
    holds the reference and the comparisons of a study, ``share`` the part of 0.05 that its verdicts may use.
    ``other_scores`` are scores by model and task, one a seed, on
    MTEB's types of tasks that are not compared here. ``damaged`` holds why files could not be read.
    """

    path: Path
    kind: str
    runs: list[Run] = field(default_factory=list)
    revisions: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)
    declared: tuple[str | None, list[str]] | None = None
    family: Literal["all", "category"] = "all"
    share: float = 1.0
    other_scores: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    damaged: list[EvalError] = field(default_factory=list)

    def leave_out(self, reason: str, what: str) -> None:
        """Record that ``what`` was not read, and why."""
        self.left_out.setdefault(reason, []).append(what)

    def set_aside(self, error: EvalError) -> None:
        """Note that a file of a folder could not be read, and why; the rest of the folder is used."""
        self.damaged.append(error)
        self.notes.append(set_aside_note(self.path, error))

    @property
    def models(self) -> list[str]:
        """The names of the runs in the comparison, each once."""
        return list(dict.fromkeys(run.manifest.label for run in self.runs))

    @property
    def tasks(self) -> list[str]:
        return sorted({task for run in self.runs for task in run.scores})


def set_aside_note(path: Path, error: EvalError) -> str:
    """Return the note on a file in a folder that could not be read."""
    return f"a file of {path} is set aside: {error.got}"


def foreign_run(model: str, records: Mapping[str, ItemScores], seed: int = 0, notes: list[str] | None = None) -> Run:
    """Return a run of a model of which only the name is known."""
    manifest = RunManifest(name=model, kind="external", model=model, seed=seed, notes=notes or [])
    return Run(manifest=manifest, scores=dict(sorted(records.items())))


def item_record(
    task: str, category: Category, metric: str, values: Mapping[str, float], fingerprint: str, group: list[str]
) -> ItemScores:
    """Return the record of a task whose score is the mean of its items' values."""
    score = math.fsum(values.values()) / len(values)
    return ItemScores(
        task=task,
        category=category,
        metric=metric,
        score=score,
        num_total=len(values),
        fingerprint=fingerprint,
        ids=list(values),
        values=list(values.values()),
        group=group,
    )


def score_record(
    task: str, category: Category, metric: str, score: float, fingerprint: str, settings: dict[str, object]
) -> ItemScores:
    """Return the record of a task of which only the score is known."""
    return ItemScores(
        task=task,
        category=category,
        metric=metric,
        score=score,
        num_total=0,
        fingerprint=fingerprint,
        ids=[],
        settings=settings,
    )


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8 or UTF-16, unpacked if its name ends in ``.gz``.

    Raises: EvalError where it cannot be read, is truncated, or is not text.
    """
    raw = _raw(path)
    try:
        return raw.decode(_encoding(raw))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        wanted = "wanted JSON, a CSV, a TREC run or qrels, in UTF-8 or UTF-16"
        raise EvalError(f"{path}:{line} is not text", wanted) from error


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its line break) of a file that ``read_text`` reads; blank lines are
    skipped.
    """
    for number, line in enumerate(io.StringIO(read_text(path)), start=1):
        if line.strip():
            yield number, line.rstrip("\r\n")


def read_any_text(path: Path, notes: list[str]) -> str:
    """Return the text of a file like ``read_text``; other bytes are read as latin-1, and ``notes`` says so.

    Raises: EvalError where it cannot be read, is truncated, or is not text.
    """
    raw = _raw(path)
    try:
        return raw.decode(_encoding(raw))
    except UnicodeDecodeError:
        if CONTROL.search(raw) or _encoding(raw) == "utf-16":
            return read_text(path)
    notes.append(f"{path} is neither UTF-8 nor UTF-16: read as latin-1; check the names, or save it as UTF-8")
    return raw.decode("latin-1")


def _raw(path: Path) -> bytes:
    try:
        return read_inflated(path)
    except DataError as error:  # inflates beyond measure
        raise EvalError(error.got, error.wanted, error.hint) from error
    except READ_ERRORS as error:
        raise EvalError(f"cannot read {path}: {error or type(error).__name__}", hint=CUT) from error


def _encoding(start: bytes) -> str:
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


_LONGEST_FIRST = 2**20
"""Characters of a first line that are looked at."""


def first_line(path: Path) -> str:
    """Return the first line of a file that is not blank; bytes that are not text are replaced."""
    try:
        with open_binary(path) as start:
            encoding = _encoding(start.read(2))
        with io.TextIOWrapper(open_binary(path), encoding=encoding, errors="replace") as file:
            return next((line for line in iter(lambda: file.readline(_LONGEST_FIRST), "") if line.strip()), "")
    except DataError as error:  # inflates beyond measure
        raise EvalError(error.got, error.wanted, error.hint) from error
    except READ_ERRORS as error:
        raise EvalError(f"cannot read {path}: {error or type(error).__name__}", hint=CUT) from error


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises: EvalError where it is not valid JSON.
    """
    try:
        return json.loads(read_text(path), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise EvalError(f"{path} is not JSON: {error}", hint=CUT) from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object as a dict. Raises: ValueError for a repeated name, of which one value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is repeated in one object")
    return found


def as_score(value: object) -> float | None:
    """Return a number as float, including NaN and infinity; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
