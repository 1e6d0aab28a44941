"""Turns wide tables of scores, one column per model or per task, into rows of ``model, task, item, score``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from poolwise.errors import EvalError
from poolwise.foreign.source import Source

Line = tuple[int, list[str]]
"""The number of a line, and its fields."""

KEPT = ("task", "item", "category", "seed", "group", "metric")
"""Columns that describe a row of a wide table; every other column holds scores."""
LONG = ("model", *KEPT, "score")
SUMMARIES = ("average", "avg", "mean", "overall")
"""Names of rows and columns that summarise others."""
INDEXES = ("", "__index_level_0__", "unnamed: 0")
"""Names of the row numbers that pandas writes."""


def is_wide(head: Sequence[str]) -> bool:
    """Return whether a header, in lower case, has a task or an item column, or models and tasks, but no score."""
    if "score" in head or len(head) != len(set(head)):
        return False
    if "model" in head:
        return len(head) > 1 and not {"task", "item"} & set(head)
    return bool({"task", "item"} & set(head)) and any(name not in (*KEPT, *INDEXES) for name in head)


def long_lines(path: Path, names: Sequence[str], lines: Sequence[Line], source: Source) -> tuple[list[str], list[Line]]:
    """Return header and lines of the long table that holds the same scores; an empty cell gives no line.

    A table without a task column is one task, named by its file.

    Args:
        names: the header as written; the names of models and tasks keep their case.
    Raises: EvalError where a line has another number of fields than the header.
    """
    # The column whose rows are named by the file's columns: with a model column, the columns are tasks.
    inner = "task" if any(name.lower() == "model" for name in names) else "model"
    return list(LONG), list(_iter_long(path, names, lines, source, inner))


def _iter_long(path: Path, names: Sequence[str], lines: Sequence[Line], source: Source, inner: str) -> Iterator[Line]:
    described = (*KEPT, "model") if inner == "task" else KEPT
    scored = [n for n, name in enumerate(names) if name.lower() not in (*described, *INDEXES)]
    for place in [n for n in scored if names[n].lower() in SUMMARIES]:
        source.leave_out("a summary of the other columns", names[place])
        scored.remove(place)
    for number, fields in lines:
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(names):
            raise EvalError(f"{path}:{number}: {len(fields)} fields, the header has {len(names)}")
        known = {name.lower(): field for name, field in zip(names, fields, strict=True)}
        if known.get("task", "").strip().lower() in SUMMARIES:
            source.leave_out("a summary of the other rows", known["task"])
            continue
        known.setdefault("task", path.resolve().name.split(".")[0])
        for place in scored:
            if fields[place].strip():
                row = known | {inner: names[place], "score": fields[place]}
                yield number, [row.get(name, "") for name in LONG]
