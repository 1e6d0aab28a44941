"""Shorter embeddings in a report and in a terminal: the mean scores at each dimension that was trained."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.records import CATEGORIES, Category, Run
from poolwise.report.amounts import score_text
from poolwise.report.blocks import Cell, Column, Csv, Table
from poolwise.report.view import category_title
from poolwise.results import DimensionMean

NOTE = (
    "Mean over seeds and tasks. A score at N dimensions uses the first N of each embedding, normalised again; the last "
    "column is the full width, which all other tables show. No test compares dimensions."
)


def dimension_means(runs: Sequence[Run]) -> list[DimensionMean]:
    """Return the mean scores of runs at each dimension that they were trained with, by category and model.

    Only tasks that all models with scores at a dimension have, so that means at one dimension can be compared.
    """
    found: dict[tuple[Category, int], dict[str, dict[str, list[float]]]] = {}
    for run in runs:
        for task, record in run.scores.items():
            for dimension, score in record.by_dimension.items():
                models = found.setdefault((record.category, dimension), {})
                models.setdefault(run.manifest.label, {}).setdefault(task, []).append(score)
    means = []
    for (category, dimension), models in sorted(found.items(), key=lambda item: CATEGORIES.index(item[0][0])):
        shared = sorted(set.intersection(*(set(tasks) for tasks in models.values())))
        for name, tasks in models.items() if shared else ():
            scores = [sum(tasks[task]) / len(tasks[task]) for task in shared]
            means.append(
                DimensionMean(category=category, name=name, dimension=dimension, mean=sum(scores) / len(scores))
            )
    return means


def dimension_table(means: Sequence[DimensionMean]) -> Table | None:
    """Return the scores by dimension, one row per category and design; None if no dimensions were trained."""
    if not means:
        return None
    scores = {(mean.category, mean.name, mean.dimension): mean.mean for mean in means}
    dimensions = sorted({dimension for _, _, dimension in scores})
    rows = dict.fromkeys((category, name) for category, name, _ in scores)
    return Table(
        key="tab-dimensions",
        caption="Score by embedding dimension",
        columns=[Column("Design"), Column("Category"), *(Column(str(d), is_number=True) for d in dimensions)],
        rows=[
            [
                Cell(name),
                Cell(category_title(category)),
                *(
                    Cell(score_text(found), sort=found)
                    for d in dimensions
                    for found in [scores.get((category, name, d))]
                ),
            ]
            for category, name in rows
        ],
        csv=Csv(
            ["category", "design", "dimension", "mean"], [[m.category, m.name, m.dimension, m.mean] for m in means]
        ),
        note=NOTE,
        is_sortable=True,
    )
