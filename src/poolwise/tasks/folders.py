"""Loads tasks by name: a folder with one task, a category's tasks or a whole suite; or an MTEB task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from poolwise.config import Prompts, Section, build_section
from poolwise.errors import DataError, PoolwiseError, collect, nearest
from poolwise.records import CATEGORIES, METRICS, Category
from poolwise.storage.row_files import TEXT_SUFFIXES
from poolwise.storage.yaml_text import load_mapping
from poolwise.tasks.classification import known_samples_per_label
from poolwise.tasks.layouts import Source, read_task, unknown_columns
from poolwise.tasks.rows import FORMS, shown_entries
from poolwise.tasks.task import Task

PYDOC = "poolwise/pydoc"
MTEB_PREFIX = "mteb:"
DEFAULT_SPLIT = "test"
STEMS = ("test", "train", "dev", "validation", "corpus", "queries")
"""The file names of a task, besides the name of the split."""
OTHER_METRICS: dict[Category, tuple[str, ...]] = {"retrieval": ("map",), "reranking": ("ndcg_at_10",)}


class TaskSettings(Section):
    """The keys of a ``task.yaml`` next to a task's files; all are optional."""

    category: Category | None = None
    metric: str | None = None
    samples_per_label: int | None = Field(default=None, ge=1, description="classification only")
    prompts: Prompts | None = Field(default=None, description="used instead of the recipe's prompts")
    columns: dict[str, Any] = Field(
        default={}, description="field: column name in the files; for retrieval also by file"
    )

    @field_validator("columns")
    @classmethod
    def _names(cls, columns: dict[str, Any]) -> dict[str, Any]:
        for key, value in columns.items():
            for name, named in value.items() if isinstance(value, dict) else [(key, value)]:
                names = named if isinstance(named, list) else [named]
                if not names or not all(isinstance(column, str) for column in names):
                    raise ValueError(f"{name} is {named!r}, wanted a column name")
        return columns


def load_tasks(
    names: Sequence[str],
    *,
    max_items: int | None = None,
    seed: int = 0,
    prompts: Mapping[Category, Prompts] | None = None,
) -> list[Task]:
    """Return the tasks of ``names``, in that order; tasks of one folder are sorted by name.

    Args:
        names: folders (one task, a category's tasks, or any tree of them), ``poolwise/pydoc``, ``mteb:NAME``.
            ``FOLDER@dev`` reads the split ``dev.jsonl`` (or ``qrels/dev.tsv``) instead of ``test``.
        max_items: the most items per task; the same seed takes the same items.
        prompts: by category; prompts in a task's ``task.yaml`` take precedence.

    Raises: DataError that lists every unusable folder, row and judgement of all tasks.
    """
    problems: list[str] = []
    tasks = [task for name in names for task in _load_name(name, prompts or {}, problems)]
    for name, count in Counter(task.name for task in tasks).items():
        if count > 1:
            problems.append(f"{name}: {count} tasks have this name; list it once, or rename a folder")
    collect(problems, DataError, "tasks cannot be used", "fix the files, or name other tasks")
    return tasks if max_items is None else [task.capped(max_items, seed) for task in tasks]


def _load_name(name: str, prompts: Mapping[Category, Prompts], problems: list[str]) -> Iterator[Task]:
    try:
        if name.startswith(MTEB_PREFIX):
            from poolwise.tasks.mteb_hub import load_mteb

            yield load_mteb(name.removeprefix(MTEB_PREFIX), prompts)
            return
        place, split = _split_of(name)
        root = _folder(place)
        folders = list(iter_task_folders(root, split))
        passed_over = list(_passed_over(root, folders))
        if not folders and not passed_over:
            passed_over = [root]
        problems += [_nothing_in(folder, split) for folder in passed_over]
        for folder in folders:
            task = _load_folder(folder, prompts, problems, split)
            if task is not None:
                yield task
    except PoolwiseError as error:
        problems.append(str(error))


def _folder(name: str) -> Path:
    if name == PYDOC:
        from poolwise.embedded.pydoc import pydoc_suite_path

        return pydoc_suite_path()
    path = Path(name).expanduser()
    if not path.is_dir():
        wanted = f"wanted a folder, {PYDOC} or {MTEB_PREFIX}NAME"
        siblings = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []
        raise DataError(f"no folder {name!r}", wanted, nearest(path.name, siblings) if siblings else "")
    return path.resolve()


def iter_task_folders(folder: Path, split: str = DEFAULT_SPLIT) -> Iterator[Path]:
    """Yield the task folders that ``folder`` is or contains, sorted by name; no task is inside another."""
    inner = _inner(folder)
    if _holds_task(folder, split) and not any(entry.name in CATEGORIES for entry in inner):
        yield folder
        return
    for entry in inner:
        yield from iter_task_folders(entry, split)


def _inner(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _holds_task(folder: Path, split: str) -> bool:
    # A CSV may be anything, such as a table of results; only a file name of a task makes the folder a task.
    tables = {f"{stem}{suffix}" for stem in {split, *STEMS} for suffix in TEXT_SUFFIXES}
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    return any(name.endswith((".jsonl", ".jsonl.gz")) or name == "task.yaml" or name in tables for name in names)


def _passed_over(folder: Path, tasks: Sequence[Path]) -> Iterator[Path]:
    """Yield folders below a category's folder that hold files but no task."""
    for entry in _inner(folder) if folder not in tasks else ():
        holds_task = any(task.is_relative_to(entry) for task in tasks)
        if folder.name in CATEGORIES and not holds_task and any(file.is_file() for file in entry.iterdir()):
            yield entry
        else:
            yield from _passed_over(entry, tasks)


def _nothing_in(folder: Path, split: str) -> str:
    expected = f"expected {FORMS.format(stem=split)} (retrieval: corpus..., queries... and qrels.tsv)"
    return f"{folder}: no task in this folder: found {shown_entries(folder)}; {expected}, or folders with tasks"


def _split_of(name: str) -> tuple[str, str]:
    place, sign, split = name.rpartition("@")
    return (place, split) if sign and split and not Path(name).exists() else (name, DEFAULT_SPLIT)


def _load_folder(folder: Path, prompts: Mapping[Category, Prompts], problems: list[str], split: str) -> Task | None:
    settings = read_settings(folder)
    category = settings.category or _category(folder)
    if category is None:
        known = nearest(folder.parent.name, CATEGORIES)
        problems.append(
            f"{folder}: unknown category; name the parent folder after it or set category in task.yaml; {known}"
        )
        return None
    metric = settings.metric or METRICS[category]
    allowed = (METRICS[category], *OTHER_METRICS.get(category, ()))
    if metric not in allowed:
        problems.append(f"{folder}/task.yaml: metric {metric!r} for {category}; {nearest(metric, allowed)}")
    if settings.samples_per_label is not None and category != "classification":
        problems.append(f"{folder}/task.yaml: samples_per_label is only for classification, this is {category}")
    problems += [f"{folder}/task.yaml: {problem}" for problem in unknown_columns(category, settings.columns)]
    return read_task(
        Source(
            folder=folder,
            name=f"{category}/{folder.name}" if split == DEFAULT_SPLIT else f"{category}/{folder.name}@{split}",
            category=category,
            metric=metric,
            prompts=settings.prompts or prompts.get(category, Prompts()),
            samples_per_label=settings.samples_per_label or known_samples_per_label(folder.name),
            problems=problems,
            columns=settings.columns,
            split=split,
        )
    )


def _category(folder: Path) -> Category | None:
    return next((category for category in CATEGORIES if category == folder.parent.name), None)


def read_settings(folder: Path) -> TaskSettings:
    """Return the settings in ``task.yaml``, or the defaults without one.

    Raises: ConfigError that lists every unknown key (with the nearest known one) and bad value.
    """
    path = folder / "task.yaml"
    if not path.is_file():
        return TaskSettings()
    return build_section(TaskSettings, load_mapping(path, "task settings", "category, metric ..."), str(path))
