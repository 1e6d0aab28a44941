"""Reads tables of scores, CSV or parquet: ``model, task, item, score``.

``category, seed, group, metric`` are optional. A table may also be wide: a task or an item column and one column per
model, or a model column and one per task.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from poolwise.errors import DataError, EvalError, collect, nearest
from poolwise.foreign.benchmarks import DEFAULT, Scope
from poolwise.foreign.mteb_tasks import P_MRR, P_MRR_TASKS, known_task
from poolwise.foreign.source import CUT, NO_METRIC, Source, foreign_run, item_record, read_any_text, score_record
from poolwise.foreign.wide_tables import Line, is_wide, long_lines
from poolwise.records import CATEGORIES, METRICS, Category, ItemScores
from poolwise.storage.row_files import iter_rows

WANTED = "wanted model, task, item, score; or task (or item) and one column per model"
NEEDED = ("model", "task", "score")
COLUMNS = (*NEEDED, "item", "category", "seed", "group", "metric")
AVERAGED = ("retrieval", "reranking", "classification")
"""Categories whose metric is the mean of the items' scores."""
LARGEST = 1e9
"""Larger than any quality score; sums of such numbers are still exact to seven digits."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    line: int
    model: str
    task: str
    item: str
    score: float
    seed: int
    category: str
    group: str
    metric: str


def csv_head(line: str) -> list[str] | None:
    """Return the column names if a line is the header of such a table, else None."""
    names = [name.strip().lower() for name in line.lstrip("\ufeff").strip().replace('"', "").split(_delimiter(line))]
    return names if set(NEEDED) <= set(names) or is_wide(names) else None


def read_csv(path: Path, scope: Scope = DEFAULT) -> Source:
    """Return a run for each model and seed of a table; a row with an empty item is the score of a task.

    Args:
        scope: describes the tasks without a category, by mteb's definitions if it has a benchmark or a language.
    Raises: EvalError where rows are invalid, repeat an item, or contradict each other.
    """
    source = Source(path, "csv")
    head, lines = _parquet_lines(path) if path.suffix == ".parquet" else _csv_lines(path, source)
    columns = [name.strip().lower() for name in head]
    if is_wide(columns):
        columns, lines = long_lines(path, [name.strip() for name in head], lines, source)
    elif missing := [name for name in NEEDED if name not in columns]:
        raise EvalError(f"{path} has no column {', '.join(missing)}: it has {', '.join(columns)}", WANTED)
    rows = _named_rows(path, columns, lines, source)
    described = {name: _description(name, group, source, scope) for name, group in _by(rows, "task").items()}
    names = {name: f"{category}/{name.rpartition('/')[2]}" for name, (category, _) in described.items()}
    problems = _contradictions(path, rows, names)
    collect(problems, EvalError, f"{path} cannot be used", "wanted one row for each model, task, seed and item")
    for (model, seed), mine in sorted(_runs(rows).items()):
        records = [_record(names[task], *described[task], part) for task, part in _by(mine, "task").items()]
        source.runs.append(foreign_run(model, {record.task: record for record in records}, seed))
    return source


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _csv_lines(path: Path, source: Source) -> tuple[list[str], list[Line]]:
    """Return the header and the lines of a CSV, with their numbers."""
    text = read_any_text(path, source.notes).lstrip()
    if not text.endswith("\n"):
        source.notes.append(f"{path} does not end with a line break: if it is truncated, its last score may be wrong")
    # Strict: otherwise an unclosed quote would make the rest of the file one field.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text.splitlines()[0]), strict=True)
    try:
        read = [(reader.line_num, fields) for fields in reader]
    except csv.Error as error:
        raise EvalError(f"{path}:{reader.line_num}: {error}", "wanted closed quotes", CUT) from error
    return read[0][1], read[1:]


def _parquet_lines(path: Path) -> tuple[list[str], list[Line]]:
    """Return the columns and the rows of a parquet file, as text."""
    try:
        rows = [(number, row) for number, row in iter_rows(path) if isinstance(row, dict)]
    except DataError as error:
        raise EvalError(str(error), hint=CUT) from error
    if not rows:
        raise EvalError(f"{path} has no rows", hint=CUT)
    head = list(rows[0][1])
    return head, [(number, ["" if row[name] is None else str(row[name]) for name in head]) for number, row in rows]


def _named_rows(path: Path, head: list[str], lines: Sequence[tuple[int, list[str]]], source: Source) -> list[Row]:
    if repeated := [name for name in COLUMNS if head.count(name) > 1]:
        raise EvalError(f"{path}: column {repeated[0]} is repeated")
    for name in head:
        if name not in COLUMNS:
            source.leave_out("columns that are not used", name)
    rows, problems = [], []
    for number, fields in lines:
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(head):
            problems.append(f"{path}:{number}: {len(fields)} fields, the header has {len(head)}")
            continue
        try:
            rows.append(_row(number, dict(zip(head, (field.strip() for field in fields), strict=True))))
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    collect(problems, EvalError, f"{path} has bad lines", CUT)
    if not rows:
        raise EvalError(f"{path} has a header but no rows", hint=CUT)
    return rows


def _row(line: int, fields: Mapping[str, str]) -> Row:
    if empty := [name for name in NEEDED if not fields[name]]:
        raise ValueError(f"{empty[0]} is empty")
    try:
        score, seed = _number(fields["score"]), int(fields.get("seed") or 0)
    except (ValueError, ArithmeticError):
        raise ValueError(f"score {fields['score']!r}, seed {fields.get('seed', '0')!r}: wanted numbers") from None
    if not math.isfinite(score):
        raise ValueError(f"score {fields['score']} is NaN or infinite")
    if abs(score) > LARGEST:
        raise ValueError(f"score {fields['score']} is too large for a score")
    category = re.sub(r"(?<=[a-z])(?=[A-Z])|[ -]+", "_", fields.get("category", "")).lower()
    if category and category not in CATEGORIES:
        raise ValueError(f"unknown category {fields['category']!r}, {nearest(category, CATEGORIES)}")
    rest = {name: fields.get(name, "") for name in ("model", "task", "item", "group", "metric")}
    return Row(line=line, score=score, seed=seed, category=category, **rest)


def _number(text: str) -> float:
    """Return a number that may have a decimal comma; one with a percent sign is divided by 100.

    Raises: ValueError where it is none; ``1.234,5`` is none either.
    """
    bare = text.removesuffix("%").strip()
    if "_" in bare:
        raise ValueError(text)
    value = float(bare.replace(",", ".") if bare.count(",") == 1 else bare)
    # By way of the text, so that 63.4 % is the float that 0.634 is.
    return float(Decimal(bare.replace(",", ".")) / 100) if text.endswith("%") and math.isfinite(value) else value


def _by(rows: Sequence[Row], column: str) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(getattr(row, column), []).append(row)
    return grouped


def _runs(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    grouped: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row.model, row.seed), []).append(row)
    return grouped


def _description(task: str, rows: Sequence[Row], source: Source, scope: Scope) -> tuple[Category, str]:
    """Return category and metric of a task: as given in the table, else by its name, else a plain mean of items."""
    prefix, _, short = task.rpartition("/")
    known = scope.task(short) or known_task(short)
    usual = "retrieval" if short in P_MRR_TASKS else known and known.category
    wanted = next((row.category for row in rows if row.category), prefix or usual or "")
    category = next((name for name in CATEGORIES if name == wanted), None)
    if category is None:
        category = "classification"
        # A benchmark counts tasks of other types, which are never compared as a category.
        if scope.has(short) and not scope.is_other_kind(short):
            source.notes.append(f"{task}: no category given, so it is treated as {category}")
        return category, next((row.metric for row in rows if row.metric), NO_METRIC)
    stated = next((row.metric for row in rows if row.metric), "")
    return category, stated or (P_MRR if short in P_MRR_TASKS else METRICS[category])


def _contradictions(path: Path, rows: Sequence[Row], names: Mapping[str, str]) -> list[str]:
    problems = []
    for column in ("category", "metric"):
        for task, group in _by(rows, "task").items():
            if len(stated := sorted(_by(group, column))) > 1:
                problems.append(f"{path}: {task} has more than one {column}: {', '.join(map(repr, stated))}")
    if len(set(names.values())) < len(names):
        problems.append(f"{path}: two tasks have the same name: {', '.join(sorted(names))}")
    seen: dict[tuple[str, str, int, str], int] = {}
    for row in rows:
        first = seen.setdefault((row.model, row.task, row.seed, row.item), row.line)
        if first != row.line:
            item = f"item {row.item!r}" if row.item else "a score without an item"
            problems.append(f"{path}:{row.line}: {row.model}, {row.task}, seed {row.seed}: {item} again (line {first})")
    return problems + _mixtures(path, rows, names)


def _mixtures(path: Path, rows: Sequence[Row], names: Mapping[str, str]) -> list[str]:
    """Return tasks with inconsistent rows: items or groups in only some, or items though the metric is no mean."""
    problems = []
    for task, group in _by(rows, "task").items():
        category = names[task].partition("/")[0]
        items = [row for row in group if row.item]
        if items and len(items) < len(group):
            problems.append(f"{path}: {task} has rows with and without an item")
        if any(row.group for row in group) and not all(row.group for row in group):
            problems.append(f"{path}: {task} has rows with and without a group")
        if items and category not in AVERAGED:
            problems.append(
                f"{path}: {task} is {category}, whose metric is not a mean over items; leave item empty and give one "
                f"score, or set category to one of {', '.join(AVERAGED)}"
            )
    return problems


def _record(name: str, category: Category, metric: str, rows: Sequence[Row]) -> ItemScores:
    if not rows[0].item:
        return score_record(name, category, metric, rows[0].score, "csv", {})
    group = [row.group for row in rows] if rows[0].group else []
    return item_record(name, category, metric, {row.item: row.score for row in rows}, "csv", group)
