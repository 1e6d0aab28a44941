"""Quality against cost: one mark for each design, and the Pareto set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from poolwise.report.amounts import count_text, score_text, short_count_text
from poolwise.report.blocks import Csv, Figure, Panel
from poolwise.report.figures.svg import WIDTH, Drawing, Scale, label_heights, log_padded, padded, tick_text
from poolwise.report.styles import Style, assign_styles, legend, pale_words
from poolwise.report.view import View, category_title

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 264.0, 46.0, 14.0, 12.0, 220.0


@dataclass(frozen=True)
class CostAxis:
    """The horizontal axis of a scatter plot; ``has_pareto`` if the records' Pareto set uses this cost."""

    key: str
    title: str
    words: Callable[[float | None], str]
    has_pareto: bool = False


PARAMETERS = CostAxis("parameters", "trainable parameters", short_count_text, has_pareto=True)
THROUGHPUT = CostAxis("texts-per-second", "texts encoded per second", count_text)


def scatter_figure(view: View, axis: CostAxis, costs: Mapping[str, float]) -> Figure | None:
    """Return one panel for each category; None if fewer than two designs have a positive cost."""
    costs = {name: cost for name, cost in costs.items() if cost > 0 and name in view.designs}
    if len(costs) < 2:
        return None
    styles = assign_styles(view.designs)
    panels = [_panel(view, category, axis, costs, styles) for category in view.categories]
    pareto = " Ringed and joined: the Pareto set of the recommendation." if axis.has_pareto else ""
    pale = pale_words(styles, "Pale")
    causal = f"Hollow: causal. {pale}." if pale else "Hollow: causal."
    return Figure(
        key=f"fig-cost-{axis.key}",
        caption=f"Mean score against {axis.title} (logarithmic). {causal}{pareto} "
        "Small differences may be noise: the table of contrasts shows which are not.",
        panels=[panel for panel in panels if panel],
        csv=_csv(view, axis, costs),
        legend=legend(styles),
    )


def _panel(
    view: View, category: str, axis: CostAxis, costs: Mapping[str, float], styles: dict[str, Style]
) -> Panel | None:
    points = {n: (costs[n], m.mean) for n in view.designs if n in costs and (m := view.mean(category, n))}
    if not points:
        return None
    drawing = Drawing(WIDTH, HEIGHT)
    x = Scale(*log_padded([cost for cost, _ in points.values()]), LEFT, WIDTH - RIGHT, is_log=True)
    y = Scale(*padded([score for _, score in points.values()], share=0.12), BOTTOM, TOP)
    drawing.y_axis(y, LEFT, WIDTH - RIGHT, tick_text)
    drawing.x_axis(x, TOP, BOTTOM, axis.words, axis.title)
    pareto = _pareto(view, category) if axis.has_pareto else []
    line = sorted(points[name] for name in pareto if name in points)
    if len(line) > 1:
        drawing.path([(x(cost), y(score)) for cost, score in line], "pareto")
    places = {name: (x(cost), y(score)) for name, (cost, score) in points.items()}
    for name, label_y in label_heights(places).items():
        _draw_mark(drawing, places[name], label_y, styles[name], _words(name, points[name], axis), name in pareto)
    alt = f"{category_title(category)}: " + "; ".join(_words(n, p, axis) for n, p in points.items())
    return Panel(category_title(category), drawing.svg(alt), alt)


def _draw_mark(
    drawing: Drawing, place: tuple[float, float], label_y: float, style: Style, words: str, ringed: bool
) -> None:
    if ringed:
        drawing.mark(*place, "ring", words, 9)
    drawing.mark(*place, style.classes, words, 5.5)
    drawing.text(place[0] + 11, label_y + 4, str(style.number), "point-label")


def _pareto(view: View, category: str) -> list[str]:
    return next((r.pareto for r in view.comparison.recommendations if r.category == category), [])


def _words(name: str, point: tuple[float, float], axis: CostAxis) -> str:
    return f"{name} {score_text(point[1])} at {axis.words(point[0])} {axis.title}"


def _csv(view: View, axis: CostAxis, costs: Mapping[str, float]) -> Csv:
    rows = [
        (category, name, costs[name], mean.mean, int(name in _pareto(view, category)))
        for category in view.categories
        for name in view.designs
        if name in costs and (mean := view.mean(category, name))
    ]
    return Csv(["category", "design", axis.title.replace(" ", "_"), "mean", "in_pareto_set"], rows)
