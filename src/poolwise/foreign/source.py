"""What one argument of ``poolwise compare`` turned out to be, and how files of other tools are opened."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poolwise.errors import EvalError
from poolwise.records import Category, ItemScores, Run, RunManifest

CUT = "is the file whole? copy or make it again"
KINDS = {
    "poolwise": "runs of poolwise",
    "mteb-results": "MTEB results",
    "mteb-predictions": "MTEB predictions",
    "trec": "TREC run",
    "csv": "CSV",
    "qrels": "relevance judgements",
}


@dataclass
class Source:
    """One recognised input: its runs, and in words whatever was not taken from it.

    ``left_out`` maps a reason to the things it kept out; ``notes`` are limitations that belong into the report.
    ``declared`` are the reference and the comparisons of a study.
    """

    path: Path
    kind: str
    runs: list[Run] = field(default_factory=list)
    revisions: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)
    declared: tuple[str | None, list[str]] | None = None

    def leave_out(self, reason: str, what: str) -> None:
        """Record one thing that was not read, under its reason."""
        self.left_out.setdefault(reason, []).append(what)

    @property
    def models(self) -> list[str]:
        """The names that the comparison will know the runs by, each once."""
        return list(dict.fromkeys(run.manifest.label for run in self.runs))

    @property
    def tasks(self) -> list[str]:
        return sorted({task for run in self.runs for task in run.scores})


def foreign_run(model: str, records: Mapping[str, ItemScores], seed: int = 0, notes: list[str] | None = None) -> Run:
    """Return a run of a model that is known by its name only."""
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
    """Return the text of a file, unpacked if its name ends in ``.gz``.

    Raises: EvalError where it cannot be read, was cut short, or is no text.
    """
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EvalError(f"{path} is no text", "wanted JSON, a CSV, a TREC run or qrels") from error
    except (OSError, EOFError, zlib.error) as error:
        raise EvalError(f"cannot read {path}: {error or type(error).__name__}", hint=CUT) from error


def first_line(path: Path) -> str:
    """Return the first line of a file that is not blank, whatever the file may be."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", errors="replace") as file:
            return next((line for line in file if line.strip()), "")
    except (OSError, EOFError, zlib.error) as error:
        raise EvalError(f"cannot read {path}: {error or type(error).__name__}", hint=CUT) from error


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises: EvalError where it is not JSON to its end.
    """
    try:
        return json.loads(read_text(path), object_pairs_hook=_each_once)
    except ValueError as error:
        raise EvalError(f"{path} is not JSON: {error}", hint=CUT) from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as a dict; of a name that comes twice one value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} comes twice in one object")
    return found


def as_score(value: object) -> float | None:
    """Return a number as float, NaN and infinity included; None for anything that is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)
