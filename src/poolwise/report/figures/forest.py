"""Forest plots: the contrasts of a category with their intervals, one per line."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.report.amounts import difference_text, interval_text, p_text
from poolwise.report.blocks import Csv, Figure, Panel
from poolwise.report.figures.svg import MOST_LETTERS, WIDTH, Drawing, Scale, fitted, padded, signed_tick_text
from poolwise.report.view import REASONS, View, category_title, stars
from poolwise.results import Contrast

ROW, LINE, HEAD, LEFT, RIGHT = 33.0, 14.0, 24.0, 8.0, 8.0


def forest_figure(view: View) -> Figure | None:
    """Return one panel for each category; None if nothing was compared."""
    panels = [_panel(category, view.contrasts(category)) for category in view.categories if view.contrasts(category)]
    if not panels:
        return None
    return Figure(
        key="fig-forest",
        caption=_caption([c for category in view.categories for c in view.contrasts(category)]),
        panels=panels,
        csv=_csv(view),
    )


def _caption(contrasts: Sequence[Contrast]) -> str:
    parts = ["Differences of mean scores (first minus second)."]
    if any(c.interval for c in contrasts):
        parts.append("Thick line: the interval of the test named in the table of contrasts.")
    if any(c.simultaneous for c in contrasts):
        parts.append("Thin line: the interval that holds for all contrasts together; the verdict uses it.")
    if any(c.typical is not None for c in contrasts):
        parts.append(
            "Tests over tasks are about the typical task: p, better and worse are about it, and the table of contrasts "
            "has its interval. Dots and lines show the mean."
        )
    if any(c.seed_spread and not c.interval and not c.simultaneous for c in contrasts):
        parts.append("Thin line without an interval: one standard deviation over seeds on each side.")
    if any(c.equivalence for c in contrasts):
        parts.append("Shaded: differences too small to matter in practice.")
    parts.append("Filled: decided. * raw p below 0.05, ** corrected. Each panel has its own scale.")
    return " ".join(parts)


def _panel(category: str, contrasts: Sequence[Contrast]) -> Panel:
    groups: dict[str, list[Contrast]] = {}
    for contrast in contrasts:
        groups.setdefault(contrast.reason[0] if contrast.reason else "", []).append(contrast)
    bottom = 4 + sum(HEAD + sum(map(_height, rows)) for rows in groups.values())
    drawing = Drawing(WIDTH, bottom + 22)
    scale = Scale(*padded([v for c in contrasts for v in _extent(c)], zero=True), LEFT, WIDTH - RIGHT)
    if region := max((c.equivalence or 0.0 for c in contrasts), default=0.0):
        drawing.band(max(scale(-region), LEFT), min(scale(region), WIDTH - RIGHT), 4, bottom, "region")
    drawing.x_axis(scale, 4, bottom, signed_tick_text)
    drawing.line(scale(0), 4, scale(0), bottom, "zero")
    y = 4.0
    for reason, rows in groups.items():
        title = REASONS.get(reason, reason) + (f" {rows[0].b}" if reason == "reference" else "")
        drawing.text(LEFT, y + 16, fitted(title[:1].upper() + title[1:]), "group")
        y += HEAD
        for row in rows:
            _draw_row(drawing, scale, y, row)
            y += _height(row)
    alt = f"{category_title(category)}: " + "; ".join(_words(c) for c in contrasts)
    return Panel(category_title(category), drawing.svg(alt), alt)


def _labels(contrast: Contrast) -> list[str]:
    """The names of a row; on two lines if they are long, like Hub names."""
    if "reference" in contrast.reason:
        return [contrast.a]
    label = f"{contrast.a} − {contrast.b}"
    return [label] if len(label) <= MOST_LETTERS else [contrast.a, f"− {contrast.b}"]


def _height(contrast: Contrast) -> float:
    return ROW + LINE * (len(_labels(contrast)) - 1)


def _draw_row(drawing: Drawing, scale: Scale, y: float, contrast: Contrast) -> None:
    for number, label in enumerate(_labels(contrast)):
        drawing.text(LEFT, y + 11 + LINE * number, fitted(label), "label")
    drawing.text(WIDTH - RIGHT, y + 11, difference_text(contrast.difference) + stars(contrast), "value", "end")
    middle = y + _height(contrast) - ROW + 21
    tone = {"better": "better", "worse": "worse", "equal": "equal"}.get(contrast.verdict or "", "undecided")
    if contrast.simultaneous or (contrast.seed_spread is not None and not contrast.interval):
        low, high = _extent(contrast)
        drawing.line(scale(low), middle, scale(high), middle, f"spread {tone}")
    if contrast.interval is not None:
        drawing.line(scale(contrast.interval[0]), middle, scale(contrast.interval[1]), middle, f"bar {tone}")
    hollow = " hollow" if tone == "undecided" else ""
    drawing.mark(scale(contrast.difference), middle, tone + hollow, _words(contrast))


def _extent(contrast: Contrast) -> tuple[float, float]:
    known = [v for pair in (contrast.interval, contrast.simultaneous) if pair for v in pair]
    if known:
        return min(*known, contrast.difference), max(*known, contrast.difference)
    spread = contrast.seed_spread or 0.0
    return contrast.difference - spread, contrast.difference + spread


def _bounds(pair: tuple[float, float] | None) -> tuple[float | None, float | None]:
    return pair or (None, None)


def _words(contrast: Contrast) -> str:
    interval = f" {interval_text(contrast.interval)}" if contrast.interval else ""
    typical = "" if contrast.typical is None else f"; typical task {difference_text(contrast.typical)}"
    return (
        f"{contrast.a} minus {contrast.b} {difference_text(contrast.difference)}{interval}{typical}, "
        f"p {p_text(contrast.p)}, corrected {p_text(contrast.p_holm)}, {contrast.verdict or 'no verdict'}"
    )


def _csv(view: View) -> Csv:
    header = ["category", "a", "b", "difference", "low", "high", "level", "simultaneous_low", "simultaneous_high"]
    header += ["equivalence", "seed_spread", "p", "p_holm", "verdict"]
    rows = [
        [
            *(c.category, c.a, c.b, c.difference),
            *_bounds(c.interval),
            c.interval_level,
            *_bounds(c.simultaneous),
            *(c.equivalence, c.seed_spread, c.p, c.p_holm, c.verdict),
        ]
        for category in view.categories
        for c in view.contrasts(category)
    ]
    return Csv(header, rows)
