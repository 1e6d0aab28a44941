"""Reads one MTEB result file, in the layout before mteb 1.11 (v1) or since (v2), as rows of scores."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poolwise.foreign.benchmarks import ENGLISH, Scope
from poolwise.foreign.mteb_tasks import P_MRR, MtebTask, guess_category, main_metric
from poolwise.foreign.source import as_score
from poolwise.records import Category

SPLITS = ("test", "dev", "validation", "standard", "train")
"""Splits of a task that is not described, the first one that a file has; BRIGHT's is "standard"."""
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

    def is_in(self, language: str) -> bool:
        """Return whether all texts are in a language, of ISO 639-3; older files name only English subsets."""
        if self.languages:
            return all(name.startswith(language) for name in self.languages)
        return language == ENGLISH and ENGLISH_SUBSETS.fullmatch(self.subset) is not None


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
        numbers = tuple(int(number) for number in re.findall(r"\d{1,9}", latest)[:3])
        return numbers, self.date, self.path.stat().st_mtime, self.revision


@dataclass(frozen=True)
class Finding:
    """The score of one task; also ``cosine_ap`` if MTEB's score is the best of several similarities.

    ``category`` is None for a type of task that poolwise does not compare; only a benchmark counts it.
    """

    file: ResultFile
    category: Category | None
    metric: str
    score: float
    where: str
    cosine_ap: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Absent:
    """A file without a score that counts, and why."""

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
                listed = row.get("languages")
                languages = tuple(map(str, listed)) if isinstance(listed, list) else ()
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


def score_of(file: ResultFile, scope: Scope) -> Finding | Absent:
    """Return the score of a task on the splits and subsets that count in the scope, or why there is none."""
    task = scope.task(file.task)
    rows = _described_rows(file, task, scope) if task else _likely_rows(file, scope)
    if not rows:
        return Absent(file, _why_no_rows(file, task, scope))
    category = task.category if task else guess_category(file.task, rows[0].metrics)
    if P_MRR in rows[0].metrics:
        # How far a ranking follows an instruction, from -1 to 1: no mean of nDCG@10 may contain it.
        if not scope.counts_other_kinds:
            return Absent(file, "its score is p-MRR, which cannot be averaged with nDCG@10")
        category = None
    if category is None and not scope.counts_other_kinds:
        kind = "a summarization task" if task or "summ" in file.task.lower() else "a type unknown from its metrics"
        return Absent(file, f"{kind}, not one of the categories compared here")
    metric = task.metric if task else main_metric(category) if category else ""
    scores = [score for row in rows if (score := _main_score(row, category, metric)) is not None]
    if len(scores) < len(rows):
        return Absent(file, "no main score in the file")
    return Finding(
        file,
        category,
        metric,
        math.fsum(scores) / len(scores),
        f"{','.join(dict.fromkeys(row.split for row in rows))} {','.join(dict.fromkeys(row.subset for row in rows))}",
        as_score(rows[0].metrics.get("cosine_ap")) if len(rows) == 1 else None,
        "" if task else f"not in MTEB's English benchmarks; read as {category}, {_words(rows, scope)}",
    )


def _described_rows(file: ResultFile, task: MtebTask, scope: Scope) -> list[ScoreRow]:
    """Return the rows of all splits and subsets of a task; none if the file lacks one of them."""
    found = [row for row in file.rows if row.split in task.splits and (scope.is_defined or row.is_in(scope.language))]
    wanted = [row for row in found if row.subset in task.subsets]
    if not wanted and len(task.subsets) == 1 and len(found) == len({row.split for row in found}):
        # Older files name the only subset of a task "default", or "en" if it is English, whatever its present name.
        alike = ("default", "en") if ENGLISH_SUBSETS.fullmatch(task.subsets[0]) else ("default",)
        wanted = [row for row in found if row.subset in alike]
    return wanted if len(wanted) == len(task.splits) * len(task.subsets) else []


def _likely_rows(file: ResultFile, scope: Scope) -> list[ScoreRow]:
    found = [row for row in file.rows if row.is_in(scope.language)]
    split = next((split for split in SPLITS if any(row.split == split for row in found)), "")
    only = {row.split for row in found}
    wanted = {split} if split else only if len(only) == 1 else set()
    return sorted((row for row in found if row.split in wanted), key=lambda row: row.subset)


def _why_no_rows(file: ResultFile, task: MtebTask | None, scope: Scope) -> str:
    found = [row for row in file.rows if (task and scope.is_defined) or row.is_in(scope.language)]
    if not found:
        return f"no {'English' if scope.language == ENGLISH else scope.language} subset in the file"
    if task and scope.is_defined:
        have = {(row.split, row.subset) for row in found}
        lacking = [
            f"{split} {subset}" for split in task.splits for subset in task.subsets if (split, subset) not in have
        ]
        return f"the file lacks {len(lacking)} of {len(task.splits) * len(task.subsets)} scores, such as {lacking[0]}"
    splits = sorted({row.split for row in found})
    wanted = f"split {', '.join(task.splits)}, subset {', '.join(task.subsets)}" if task else "a known split"
    return f"wanted {wanted}; the scores in the file are of split {', '.join(splits)}"


def _words(rows: list[ScoreRow], scope: Scope) -> str:
    name = "English" if scope.language == ENGLISH else scope.language
    mean = f", the mean of {len(rows)} {name} subsets" if len(rows) > 1 else ""
    return f"split {rows[0].split}{mean}"


def _main_score(row: ScoreRow, category: Category | None, metric: str) -> float | None:
    names = ("main_score", metric, *(("map", "map_at_1000") if category == "reranking" else ()))
    return next((score for name in names if (score := as_score(row.metrics.get(name))) is not None), None)
