"""Reads one MTEB result file, in the layout before mteb 1.11 (v1) or since (v2), as rows of scores."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poolwise.foreign.mteb_tasks import MtebTask, guess_category, known_task, main_metric
from poolwise.foreign.source import as_score
from poolwise.records import Category

SPLITS = ("test", "dev", "validation", "train")
SIMILARITIES = {
    "cos_sim": "cosine",
    "dot": "dot",
    "euclidean": "euclidean",
    "manhattan": "manhattan",
    "max": "max",
    "similarity": "similarity",
}
NO_SUBSETS = {*SIMILARITIES, "v_measures"}
ENGLISH_SUBSETS = re.compile(r"(default|en|eng|en-en|en-ext|eng-eng|eng_Latn|eng-Latn)")


@dataclass(frozen=True)
class ScoreRow:
    """The metrics of one split and subset; ``languages`` is empty if the layout does not list them."""

    split: str
    subset: str
    languages: tuple[str, ...]
    metrics: Mapping[str, object]

    @property
    def is_english(self) -> bool:
        if self.languages:
            return all(language.startswith("eng") for language in self.languages)
        return ENGLISH_SUBSETS.fullmatch(self.subset) is not None


@dataclass(frozen=True)
class ResultFile:
    """The contents of one result file, for one task."""

    path: Path
    revision: str
    task: str
    layout: str
    data_revision: str
    version: str
    date: float
    rows: tuple[ScoreRow, ...]

    @property
    def age(self) -> tuple[tuple[int, ...], float, float, str]:
        """A sort key; newer files are greater: mteb's version, the date in the file, the file's time, then its name."""
        latest = self.version.rpartition("-")[2]
        numbers = tuple(int(number) for number in re.findall(r"\d+", latest)[:3])
        return numbers, self.date, self.path.stat().st_mtime, self.revision


@dataclass(frozen=True)
class Finding:
    """The English score of one task; also ``cosine_ap`` if MTEB's score is the best of several similarities."""

    file: ResultFile
    category: Category
    metric: str
    score: float
    where: str
    cosine_ap: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Absent:
    """A file without an English score, and why."""

    file: ResultFile
    reason: str


def parse_result(data: Any, path: Path, revision: str) -> ResultFile | None:
    """Return the result in a JSON file, or None if it is not an MTEB result."""
    if not isinstance(data, dict):
        return None
    if isinstance(data.get("scores"), dict):
        rows = tuple(_v2_rows(data["scores"]))
    elif "mteb_dataset_name" in data or any(isinstance(data.get(split), dict) for split in SPLITS):
        rows = tuple(_v1_rows(data))
    else:
        return None
    return ResultFile(
        path,
        revision,
        str(data.get("task_name") or data.get("mteb_dataset_name") or path.name.removesuffix(".json")),
        "v2" if "scores" in data else "v1",
        str(data.get("dataset_revision") or "not stated"),
        str(data.get("mteb_version") or ""),
        as_score(data.get("date")) or 0.0,
        rows,
    )


def _v2_rows(scores: Mapping[str, Any]) -> Iterator[ScoreRow]:
    for split, rows in scores.items():
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict):
                languages = tuple(str(language) for language in row.get("languages") or ())
                yield ScoreRow(split, str(row.get("hf_subset", "default")), languages, _flat(row))


def _v1_rows(data: Mapping[str, Any]) -> Iterator[ScoreRow]:
    for split, scores in data.items():
        if not isinstance(scores, dict):
            continue
        subsets = {name: part for name, part in scores.items() if isinstance(part, dict) and name not in NO_SUBSETS}
        for subset, metrics in subsets.items() or [("default", scores)]:
            yield ScoreRow(split, subset, (), _flat(metrics))


def _flat(metrics: Mapping[str, Any]) -> dict[str, object]:
    """Return ``{"cos_sim": {"ap": x}}`` as ``{"cosine_ap": x}``; flat entries are kept."""
    flat: dict[str, object] = {}
    for name, value in metrics.items():
        if name in SIMILARITIES and isinstance(value, dict):
            flat |= {f"{SIMILARITIES[name]}_{inner}": number for inner, number in value.items()}
        else:
            flat[name] = value
    return flat


def english_score(file: ResultFile) -> Finding | Absent:
    """Return the score of the English subset on the split that MTEB evaluates, or why there is none."""
    task = known_task(file.task)
    rows = _wanted_rows(file, task)
    if not rows:
        return Absent(file, _why_no_rows(file, task))
    category = task.category if task else guess_category(file.task, rows[0].metrics)
    if category is None:
        kind = "a summarization task" if task or "summ" in file.task.lower() else "a type unknown from its metrics"
        return Absent(file, f"{kind}, not one of the categories compared here")
    scores = [score for row in rows if (score := _main_score(row, category)) is not None]
    if len(scores) < len(rows):
        return Absent(file, "no main score in the file")
    return Finding(
        file,
        category,
        main_metric(category),
        math.fsum(scores) / len(scores),
        f"{rows[0].split} {','.join(row.subset for row in rows)}",
        as_score(rows[0].metrics.get("cosine_ap")) if len(rows) == 1 else None,
        "" if task else f"not in MTEB's English benchmarks; read as {category}, {_words(rows)}",
    )


def _wanted_rows(file: ResultFile, task: MtebTask | None) -> list[ScoreRow]:
    english = [row for row in file.rows if row.is_english]
    if task is None:
        split = next((split for split in SPLITS if any(row.split == split for row in english)), "")
        return sorted((row for row in english if row.split == split), key=lambda row: row.subset)
    rows = [row for row in english if row.split == task.split]
    # Older files name the only subset of a task "default" or "en", whatever its present name.
    alike = {task.subset, "default", "en"} if len(rows) == 1 else {task.subset}
    return [row for row in rows if row.subset in alike]


def _why_no_rows(file: ResultFile, task: MtebTask | None) -> str:
    if not any(row.is_english for row in file.rows):
        return "no English subset in the file"
    splits = sorted({row.split for row in file.rows if row.is_english})
    wanted = f"split {task.split}, subset {task.subset}" if task else "a known split"
    return f"wanted {wanted}; the English scores in the file are of split {', '.join(splits)}"


def _words(rows: list[ScoreRow]) -> str:
    mean = f", the mean of {len(rows)} English subsets" if len(rows) > 1 else ""
    return f"split {rows[0].split}{mean}"


def _main_score(row: ScoreRow, category: Category) -> float | None:
    names = ("main_score", main_metric(category), *(("map_at_1000",) if category == "reranking" else ()))
    return next((score for name in names if (score := as_score(row.metrics.get(name))) is not None), None)
