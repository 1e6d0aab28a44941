"""The table of the hierarchical view: partial pooling over tasks, and standardised differences."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.report.amounts import difference_text, interval_text, score_text
from poolwise.report.blocks import Cell, Column, Csv, CsvValue, Table
from poolwise.report.view import category_title
from poolwise.results import Contrast, Hierarchy

NOTE = (
    "Pooled mean: the mean over tasks in which a task with little information counts less (random effects). "
    "A new task: where the difference on one more task like these would be, in 95 of 100 cases. Between tasks: the "
    "standard deviation of the true differences. Standardised: the mean difference in standard deviations between the "
    "models of each task, so that one task with large differences does not rule it. No verdict uses this table. The "
    "CSV has each task's difference, and the one shrunken towards the mean."
)


def hierarchy_table(hierarchies: Sequence[Hierarchy], contrasts: Sequence[Contrast]) -> Table | None:
    """Return one row for each contrast with its partial pooling; None if there is none."""
    if not hierarchies:
        return None
    tested = {(c.category, c.a, c.b): c for c in contrasts}
    columns = [Column("Category"), Column("Contrast")]
    titles = ["Mean", "Pooled mean", "95% interval", "A new task", "Between tasks", "Standardised"]
    rows = [_row(one, tested.get((one.category, one.a, one.b))) for one in hierarchies]
    numbers: list[list[CsvValue]] = [
        [one.category, one.a, one.b, task, difference, shrunken]
        for one in hierarchies
        for task, difference, shrunken in zip(one.tasks, one.differences, one.shrunken, strict=True)
    ]
    return Table(
        key="tab-hierarchy",
        caption="Partial pooling over tasks",
        columns=[*columns, *(Column(title, is_number=True) for title in titles)],
        rows=rows,
        csv=Csv(["category", "a", "b", "task", "difference", "shrunken"], numbers),
        note=NOTE,
        is_sortable=True,
    )


def _row(one: Hierarchy, contrast: Contrast | None) -> list[Cell]:
    plain = sum(one.differences) / len(one.differences)
    size = contrast.standardised if contrast else None
    return [
        Cell(category_title(one.category)),
        Cell(one.a, note=f"minus {one.b}"),
        Cell(difference_text(plain), plain),
        Cell(difference_text(one.mean), one.mean),
        Cell(interval_text(one.interval), one.mean),
        Cell(interval_text(one.new_task), one.mean),
        Cell(score_text(one.between_std), one.between_std),
        Cell("–" if size is None else f"{size:+.2f}".replace("-", "−"), size),
    ]
