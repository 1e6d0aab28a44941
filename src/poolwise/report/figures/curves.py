"""Training curves: one small panel for each design, with all other curves in grey."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from poolwise.report.blocks import Csv, Figure, Panel
from poolwise.report.figures.svg import Drawing, Scale, element, padded, path_data, tick_text
from poolwise.report.styles import Style, assign_styles, pale_words
from poolwise.results import TrainingCurve

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 300.0, 150.0, 34.0, 8.0, 6.0, 118.0
MAX_POINTS = 120
Points = list[tuple[float, float]]


def adaptation_figure(curve: TrainingCurve) -> Figure | None:
    """Return the training curve of the base's adaptation; None if it has no steps."""
    caption = "Loss of masked next-token training by step, before any design was trained."
    return _figure([curve], [curve.design], "fig-adaptation", caption)


def curves_figure(curves: Sequence[TrainingCurve], designs: Sequence[str]) -> Figure | None:
    """Return one panel for each trained design; None if there is none."""
    lines = "; ".join(part for part in ("dashed: causal", pale_words(assign_styles(designs), "dotted")) if part)
    caption = f"Training loss by step, one line a seed ({lines}); all other designs in grey, on the same batches."
    return _figure(curves, designs, "fig-curves", caption)


def _figure(curves: Sequence[TrainingCurve], designs: Sequence[str], key: str, caption: str) -> Figure | None:
    curves = [curve for curve in curves if curve.steps]
    if not curves:
        return None
    styles = assign_styles(designs)
    longest = max(len(curve.steps) for curve in curves)
    bin_size = -(-longest // MAX_POINTS)
    x = Scale(0, max(curve.steps[-1] for curve in curves), LEFT, WIDTH - RIGHT)
    y = Scale(*padded([loss for curve in curves for loss in curve.loss]), BOTTOM, TOP)
    shown = list(dict.fromkeys(curve.design for curve in curves))
    everyone = "".join(path_data(_points(curve, bin_size, x, y)) for curve in curves)
    # The grey lines are the same in every panel: drawn in the first, reused in the others.
    name = "all-curves" if key == "fig-curves" else f"all-{key}"
    behind = [element("path", id=name, class_="behind", d=everyone)]
    behind += [element("use", href=f"#{name}")] * (len(shown) - 1)
    every = f" Each point is the mean of {bin_size} steps." if bin_size > 1 else ""
    return Figure(
        key=key,
        caption=f"{caption}{every}",
        panels=[
            _panel([c for c in curves if c.design == design], styles[design], x, y, bin_size, grey)
            for design, grey in zip(shown, behind, strict=True)
        ],
        csv=_csv(curves),
        is_dense=True,
    )


def _panel(curves: Sequence[TrainingCurve], style: Style, x: Scale, y: Scale, bin_size: int, behind: str) -> Panel:
    drawing = Drawing(WIDTH, HEIGHT)
    drawing.y_axis(y, LEFT, WIDTH - RIGHT, tick_text)
    drawing.x_axis(x, BOTTOM, BOTTOM, tick_text)
    drawing.parts.append(behind)
    for curve in curves:
        drawing.path(_points(curve, bin_size, x, y), f"curve {style.classes}")
    design = curves[0].design
    alt = f"{design}: " + "; ".join(
        f"seed {c.seed}, loss {c.loss[0]:.3f} at step {c.steps[0]} and {c.loss[-1]:.3f} at step {c.steps[-1]}"
        for c in curves
    )
    return Panel(f"{style.number}  {design}", drawing.svg(alt), alt)


def _points(curve: TrainingCurve, bin_size: int, x: Scale, y: Scale) -> Points:
    starts = range(0, len(curve.steps), bin_size)
    means = [
        (statistics.fmean(curve.steps[i : i + bin_size]), statistics.fmean(curve.loss[i : i + bin_size]))
        for i in starts
    ]
    return [(x(step), y(loss)) for step, loss in means]


def _csv(curves: Sequence[TrainingCurve]) -> Csv:
    rows = [
        (c.design, c.seed, step, loss, rate)
        for c in curves
        for step, loss, rate in zip(c.steps, c.loss, c.learning_rate, strict=True)
    ]
    return Csv(["design", "seed", "step", "loss", "learning_rate"], rows)
