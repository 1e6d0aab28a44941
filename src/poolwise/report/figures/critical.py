"""Critical-difference diagrams: average ranks, and which of them do not differ significantly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.report.amounts import p_text
from poolwise.report.blocks import Csv, Figure, Panel
from poolwise.report.figures.svg import WIDTH, Drawing, Scale, fitted, tick_text
from poolwise.report.view import category_title
from poolwise.results import RankPicture

ROW, TOP, RIGHT, BAR = 32.0, 26.0, 14.0, 13.0


def ranks_figure(pictures: Sequence[RankPicture]) -> Figure | None:
    """Return one critical-difference diagram for each category; None if no category has enough tasks."""
    if not pictures:
        return None
    rows = [
        (p.category, name, rank, p.num_tasks, p.p, p.critical_difference)
        for p in pictures
        for name, rank in zip(p.names, p.mean_ranks, strict=True)
    ]
    tests = ", ".join(dict.fromkeys(p.test for p in pictures))
    return Figure(
        key="fig-ranks",
        caption=f"Average ranks over the tasks of a category, 1 is best ({tests}). A bar joins names whose ranks are "
        "within one critical difference. For overview only: verdicts come from the pairwise tests.",
        panels=[_panel(picture) for picture in pictures],
        csv=Csv(["category", "name", "mean_rank", "num_tasks", "p", "critical_difference"], rows),
    )


def _panel(picture: RankPicture) -> Panel:
    title = category_title(picture.category)
    ranks = dict(zip(picture.names, picture.mean_ranks, strict=True))
    words = f"{picture.num_tasks} tasks, p {p_text(picture.p)}, critical difference {picture.critical_difference:.2f}"
    svg = critical_difference_svg(ranks, picture.groups, title)
    return Panel(f"{title}: {words}", svg, _words(ranks, picture.groups, title))


def critical_difference_svg(ranks: Mapping[str, float], groups: Sequence[Sequence[str]], title: str) -> str:
    """Return a drawing of average ranks, best first, with a bar for each group without a significant difference.

    A bar joins exactly the names with a dot on it. Groups from pairwise tests need not be neighbours in rank, which
    the usual horizontal bars cannot show.

    Args:
        ranks: average rank by name, 1 is best.
        groups: sets of names without a significant difference between any two; groups of one are left out.
        title: what is ranked, for the alternative text.
    """
    names = sorted(ranks, key=lambda name: (ranks[name], name))
    ends = (1.0, max(float(len(names)), 2.0))
    return grouped_svg(
        {name: ranks[name] for name in names}, groups, ends, "average rank", _words(ranks, groups, title)
    )


def grouped_svg(
    values: Mapping[str, float], groups: Sequence[Sequence[str]], ends: tuple[float, float], what: str, alt: str
) -> str:
    """Return a drawing of one value a name, in the order given, with a bar at the left for each group of names.

    Args:
        ends: the values at the left and the right end of the scale. what: of the values, for tooltips.
    """
    bars = [group for group in groups if len(group) > 1]
    left = 10.0 + BAR * len(bars)
    bottom = TOP + ROW * len(values)
    drawing = Drawing(WIDTH, bottom + 6)
    scale = Scale(*ends, left + 10, WIDTH - RIGHT)
    digits = 2 if ends[0] >= 1 else 4
    for tick in scale.ticks(8 if ends[0] >= 1 else 4):
        drawing.line(scale(tick), TOP - 4, scale(tick), bottom, "grid")
        drawing.text(scale(tick), TOP - 10, tick_text(tick), "tick", "middle")
    middles = {name: TOP + ROW * row + 21 for row, name in enumerate(values)}
    for name, middle in middles.items():
        drawing.text(left, middle - 9, fitted(name), "label")
        drawing.text(WIDTH - 2, middle - 9, f"{values[name]:.{digits}f}", "value", "end")
        drawing.mark(scale(values[name]), middle, "undecided", f"{name}: {what} {values[name]:.{digits}f}")
    for column, group in enumerate(bars):
        x = 6.0 + BAR * column
        drawing.line(x, min(middles[n] for n in group), x, max(middles[n] for n in group), "clique")
        for name in group:
            drawing.mark(x, middles[name], "undecided", f"no significant difference: {', '.join(group)}", 3.5)
    return drawing.svg(alt)


def _words(ranks: Mapping[str, float], groups: Sequence[Sequence[str]], title: str) -> str:
    listed = ", ".join(f"{name} {ranks[name]:.2f}" for name in sorted(ranks, key=lambda name: (ranks[name], name)))
    joined = "; ".join("no significant difference: " + ", ".join(group) for group in groups if len(group) > 1)
    return f"{title}: average ranks {listed}; {joined or 'all differ significantly'}"
