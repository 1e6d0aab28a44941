"""Score against training budget: one panel for each category, one line for each design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.report.amounts import count_text, score_text
from poolwise.report.blocks import Csv, Figure, Panel
from poolwise.report.figures.svg import WIDTH, Drawing, Scale, label_heights, log_padded, padded, tick_text
from poolwise.report.styles import Style, assign_styles, legend, pale_words
from poolwise.report.view import category_title

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 264.0, 46.0, 26.0, 12.0, 220.0
Scores = Mapping[str, Mapping[str, Mapping[int, float]]]
"""Mean scores by category, design and number of training steps."""


def budgets_figure(scores: Scores, designs: Sequence[str]) -> Figure:
    """Return one panel for each category; a design's number is at the end of its line."""
    styles = assign_styles(designs)
    lines = "; ".join(part for part in ("dashed: causal", pale_words(styles, "dotted")) if part)
    rows = [
        (category, name, steps, score)
        for category, by_design in scores.items()
        for name, by_steps in by_design.items()
        for steps, score in by_steps.items()
    ]
    return Figure(
        key="fig-budgets",
        caption=f"Mean score by number of training steps (logarithmic; {lines}). Small differences may be noise.",
        panels=[_panel(category, by_design, styles) for category, by_design in scores.items()],
        csv=Csv(["category", "design", "steps", "mean"], rows),
        legend=legend(styles),
    )


def _panel(category: str, by_design: Mapping[str, Mapping[int, float]], styles: Mapping[str, Style]) -> Panel:
    steps = [float(count) for by_steps in by_design.values() for count in by_steps]
    values = [score for by_steps in by_design.values() for score in by_steps.values()]
    x = Scale(*log_padded(steps, share=0.06), LEFT, WIDTH - RIGHT, is_log=True)
    y = Scale(*padded(values, share=0.12), BOTTOM, TOP)
    drawing = Drawing(WIDTH, HEIGHT)
    drawing.y_axis(y, LEFT, WIDTH - RIGHT, tick_text)
    drawing.x_axis(x, TOP, BOTTOM, count_text, "training steps", sorted(set(steps)))
    ends: dict[str, tuple[float, float]] = {}
    for name, by_steps in by_design.items():
        points = [(x(float(count)), y(score)) for count, score in sorted(by_steps.items())]
        drawing.path(points, f"curve {styles[name].classes}")
        for (place, height), (count, score) in zip(points, sorted(by_steps.items()), strict=True):
            drawing.mark(place, height, styles[name].classes, f"{name} {score_text(score)} after {count:,} steps", 3.5)
        ends[name] = points[-1]
    for name, height in label_heights(ends).items():
        drawing.text(ends[name][0] + 8, height + 4, str(styles[name].number), "point-label")
    alt = f"{category_title(category)}: " + "; ".join(
        f"{name} "
        + ", ".join(f"{score_text(score)} after {count:,} steps" for count, score in sorted(by_steps.items()))
        for name, by_steps in by_design.items()
    )
    return Panel(category_title(category), drawing.svg(alt), alt)
