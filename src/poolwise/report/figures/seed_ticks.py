"""Seed spread: the mean score of each design in a category, with one tick for each seed."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.report.amounts import score_text, spread_text
from poolwise.report.blocks import Csv, Figure, Panel
from poolwise.report.figures.svg import WIDTH, Drawing, Scale, fitted, padded, tick_text
from poolwise.report.styles import Style, assign_styles
from poolwise.report.view import View, category_title
from poolwise.results import CategoryMean

ROW, LEFT, RIGHT = 32.0, 8.0, 8.0


def seeds_figure(view: View) -> Figure | None:
    """Return one panel for each category; None if there is no mean, or no design with two seeds."""
    styles = assign_styles(view.designs)
    panels = [
        _panel(category, means, styles)
        for category in view.categories
        if (means := [m for name in view.designs if (m := view.mean(category, name))])
    ]
    if not panels or all(len(mean.by_seed) < 2 for mean in view.comparison.means if mean.name in view.designs):
        return None
    return Figure(
        key="fig-seeds",
        caption="Mean score over the tasks of a category. Ticks: single seeds; circle: their mean. "
        "Where the ticks of two designs overlap, the seed alone can change their order.",
        panels=panels,
        csv=_csv(view),
    )


def _panel(category: str, means: Sequence[CategoryMean], styles: dict[str, Style]) -> Panel:
    bottom = 4 + ROW * len(means)
    drawing = Drawing(WIDTH, bottom + 22)
    scale = Scale(*padded([v for m in means for v in [m.mean, *m.by_seed]]), LEFT, WIDTH - RIGHT)
    drawing.x_axis(scale, 4, bottom, tick_text)
    for row, mean in enumerate(means):
        _draw_row(drawing, scale, 4 + ROW * row, mean, styles[mean.name])
    alt = f"{category_title(category)}: " + "; ".join(_words(m) for m in means)
    return Panel(category_title(category), drawing.svg(alt), alt)


def _draw_row(drawing: Drawing, scale: Scale, y: float, mean: CategoryMean, style: Style) -> None:
    classes = style.classes
    drawing.text(LEFT, y + 11, fitted(f"{style.number}  {mean.name}"), "label")
    drawing.text(WIDTH - RIGHT, y + 11, score_text(mean.mean), "value", "end")
    middle = y + 21
    seeds = mean.by_seed or [mean.mean]
    drawing.line(scale(min(seeds)), middle, scale(max(seeds)), middle, f"spread {classes}")
    for score in seeds:
        drawing.line(scale(score), middle - 6, scale(score), middle + 6, f"seed {classes}")
    drawing.mark(scale(mean.mean), middle, classes, _words(mean), 4)


def _words(mean: CategoryMean) -> str:
    return f"{mean.name} {score_text(mean.mean)} {spread_text(mean.seed_std)}".strip()


def _csv(view: View) -> Csv:
    rows = [
        [m.category, m.name, seed, score, m.mean, m.seed_std]
        for m in view.comparison.means
        for seed, score in enumerate(m.by_seed)
    ]
    return Csv(["category", "name", "seed_index", "score", "mean", "seed_std"], rows)
