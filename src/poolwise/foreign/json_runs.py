"""Reads the runs and judgements of ranx and ir_measures in JSON: ``{query: {document: score}}``."""

from __future__ import annotations

import math
from pathlib import Path

from poolwise.errors import EvalError, collect
from poolwise.foreign.source import as_score, read_json
from poolwise.storage.qrels import LARGEST_GRADE

WANTED = "wanted {query: {document: score}}"


def is_json_path(path: Path) -> bool:
    """Return whether a file is named as JSON, plain or gzipped."""
    return path.name.removesuffix(".gz").endswith(".json")


def is_json_run(path: Path, on_error: bool | None = None) -> bool:
    """Return whether a file is JSON with an object of objects of numbers.

    Args:
        on_error: the answer for a file named as JSON that cannot be read; None raises the error.
    Raises: EvalError where such a file is not JSON.
    """
    if not is_json_path(path) or not path.is_file():
        return False
    try:
        data = read_json(path)
    except EvalError:
        if on_error is None:
            raise
        return on_error
    return isinstance(data, dict) and bool(data) and all(map(_is_ranking, data.values()))


def load_json_rankings(path: Path) -> dict[str, dict[str, float]]:
    """Return query -> document -> score. Raises: EvalError where the layout is another or a score is not finite."""
    data = read_json(path)
    if not isinstance(data, dict) or not data:
        raise EvalError(f"{path} holds no ranking", WANTED)
    bad = [f"query {query!r} holds no object of numbers" for query, found in data.items() if not _is_ranking(found)]
    collect(bad, EvalError, f"{path} is not a run in JSON", WANTED)
    bad = [
        f"query {query!r}, document {name!r}: score {score}"
        for query, found in data.items()
        for name, score in found.items()
        if not math.isfinite(as_score(score) or 0.0)
    ]
    collect(bad, EvalError, f"{path} holds scores that are not finite numbers")
    return {query: {name: float(score) for name, score in found.items()} for query, found in data.items()}


def load_json_grades(path: Path) -> dict[str, dict[str, int]]:
    """Return query -> document -> grade. Raises: EvalError where the layout is another or a grade is not whole."""
    rankings = load_json_rankings(path)
    bad = [
        f"query {query!r}, document {name!r}: grade {grade}"
        for query, found in rankings.items()
        for name, grade in found.items()
        if not grade.is_integer() or abs(grade) > LARGEST_GRADE
    ]
    wanted = f"wanted whole grades up to {LARGEST_GRADE:,}"
    collect(bad, EvalError, f"{path} is not a file of relevance judgements", wanted)
    return {query: {name: int(grade) for name, grade in found.items()} for query, found in rankings.items()}


def _is_ranking(found: object) -> bool:
    # A query without a document found is an empty object.
    return isinstance(found, dict) and all(as_score(score) is not None for score in found.values())
