"""The list of embedded evaluation tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from poolwise.embedded.pydoc_labelled import (
    area_of_text,
    clusters_by_area,
    clusters_by_module,
    clusters_of_names,
    effect_of_function,
    kind_of_object,
)
from poolwise.embedded.pydoc_read import Entry
from poolwise.embedded.pydoc_retrieval import name_to_description, question_to_class, summary_to_body
from poolwise.embedded.pydoc_rows import BuiltTask

BUILDERS: tuple[Callable[[Sequence[Entry]], BuiltTask], ...] = (
    summary_to_body,
    name_to_description,
    question_to_class,
    area_of_text,
    kind_of_object,
    effect_of_function,
    clusters_by_area,
    clusters_by_module,
    clusters_of_names,
)


def build_tasks(entries: Sequence[Entry]) -> list[BuiltTask]:
    """Return all tasks, made from the entries of evaluation modules; a task without rows is left out."""
    built = [build(entries) for build in BUILDERS]
    return [task for task in built if all(task.files.values())]
