"""The drill-down: for each task, the items on which two designs differ most."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.report.blocks import Block, Drilldown, Folded, Item, ItemContrast, Paragraph
from poolwise.results import Comparison, Extremes, TaskExtremes

HOW_TO_GET_TEXTS = (
    "`poolwise study` and `poolwise eval` store the texts of items beside the scores: run the same command again to "
    "add them; nothing is scored twice. Results of other tools contain no texts."
)


def drilldowns(comparison: Comparison) -> list[Block]:
    """Return notes on the items and one collapsed drill-down for each task; nothing if no task has items."""
    extremes = comparison.extremes
    if not extremes:
        # Tests within tasks had items: these results were written before items were kept.
        return [Paragraph(f"These records contain no items. {HOW_TO_GET_TEXTS}")] if comparison.task_contrasts else []
    bare = [task.task for task in extremes if not task.parts]
    return [
        Paragraph(
            "For each task and contrast: the items with the largest score differences, averaged over seeds, up to "
            "three on each side. They are examples to read; no test uses them."
        ),
        *([Paragraph(_without_texts(bare, len(extremes)))] if bare else []),
        *(_task(f"i{number}", task) for number, task in enumerate(extremes)),
    ]


def _without_texts(bare: Sequence[str], num_tasks: int) -> str:
    where = "" if len(bare) == num_tasks else f" on {', '.join(bare)}"
    return f"Items are shown by id{where}: no texts are stored. {HOW_TO_GET_TEXTS}"


def _task(key: str, task: TaskExtremes) -> Folded:
    items = [
        Item(name, [(part, texts[place]) for part, texts in task.parts.items()]) for place, name in enumerate(task.ids)
    ]
    note = f"Score of an item: {task.measure}."
    return Folded(task.task, [Drilldown(key, note, items, [_contrast(contrast) for contrast in task.contrasts])])


def _contrast(contrast: Extremes) -> ItemContrast:
    rows = list(zip(contrast.items, contrast.a_scores, contrast.b_scores, strict=True))
    return ItemContrast(
        contrast.a,
        contrast.b,
        [(item, a, b) for item, a, b in rows if a > b],
        [(item, a, b) for item, a, b in rows if a < b],
    )
