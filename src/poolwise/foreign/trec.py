"""Reads TREC runs: ``query Q0 document rank score tag``, one ranking per file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from poolwise.errors import EvalError, collect
from poolwise.foreign.json_runs import is_json_path, load_json_rankings
from poolwise.foreign.qrels import Qrels, match_qrels, score_rankings
from poolwise.foreign.source import CUT, Source, foreign_run, read_text
from poolwise.records import ItemScores

GENERIC = {"run", "runs", "result", "results", "output", "ranking", "test", "dev"}
"""File names that do not name the model; then the folder does."""


def is_run_line(line: str) -> bool:
    """Return whether a line has the six fields of a TREC run, with numbers in the fourth and fifth."""
    fields = line.split()
    return len(fields) == 6 and all(_number(text) is not None for text in fields[3:5])


def read_trec(path: Path, files: Sequence[Path], everyone: Sequence[Qrels]) -> Source:
    """Return the run of a model, named by its file, or by the folder if that has one file per task.

    A file that cannot be read is set aside; if all are, the source has no run.

    Raises: EvalError where two files score the same task, or no judgements match.
    """
    name = _model_name(path)
    source = Source(path, "trec")
    records: dict[str, ItemScores] = {}
    tags: set[str] = set()
    for file, rankings, found in _iter_rankings(files, source):
        tags |= found
        judged = match_qrels(rankings, file.name.split(".")[0], everyone, file)
        record, notes = score_rankings(rankings, judged, name)
        if record.task in records:
            raise EvalError(
                f"{path} holds two runs of {record.task}", hint="use one folder per model, or give each file separately"
            )
        records[record.task] = record
        source.notes += notes
    source.runs = [foreign_run(name, records)] if records else []
    source.details["tags"] = sorted(tags)
    return source


def _iter_rankings(
    files: Sequence[Path], source: Source
) -> Iterator[tuple[Path, dict[str, dict[str, float]], set[str]]]:
    """Yield each file with its rankings and tags; a file that cannot be read is set aside."""
    for file in files:
        try:
            rankings, tags = (load_json_rankings(file), set()) if is_json_path(file) else load_rankings(file)
        except EvalError as error:
            source.set_aside(error)
            continue
        yield file, rankings, tags


def _model_name(path: Path) -> str:
    resolved = path.resolve()
    stem = resolved.name.removesuffix(".gz").rpartition(".")[0]
    if path.is_dir() or not stem:
        return resolved.name
    return resolved.parent.name if stem.lower() in GENERIC else stem


def load_rankings(path: Path) -> tuple[dict[str, dict[str, float]], set[str]]:
    """Return query -> document -> score, and the tags of a run; like trec_eval, ranks are ignored.

    Raises: EvalError where a line lacks fields, a score is not finite, or a document is repeated for a query.
    """
    rankings: dict[str, dict[str, float]] = {}
    tags: set[str] = set()
    problems = []
    text = read_text(path)
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = line.split()
        score = _number(fields[4]) if len(fields) == 6 else None
        if len(fields) != 6:
            problems.append(f"{path}:{number}: {len(fields)} fields; wanted `query Q0 document rank score tag`")
        elif score is None or not math.isfinite(score):
            problems.append(f"{path}:{number}: score {fields[4]} is not a finite number")
        elif fields[2] in rankings.setdefault(fields[0], {}):
            problems.append(f"{path}:{number}: document {fields[2]} is repeated for query {fields[0]}")
        else:
            rankings[fields[0]][fields[2]] = score
            if tags and fields[5] not in tags and not text.endswith("\n") and number == len(lines):
                problems.append(f"{path}:{number}: the last line breaks off in the tag {fields[5]!r}")
            tags.add(fields[5])
    collect(problems, EvalError, f"{path} is not a complete TREC run", CUT)
    return rankings, tags


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
