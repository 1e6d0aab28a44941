"""Groups of models that are not separated: the mean score of each, and a bar for each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.report.amounts import score_text
from poolwise.report.blocks import Csv, CsvValue, Figure, Panel
from poolwise.report.figures.critical import grouped_svg
from poolwise.report.figures.svg import padded
from poolwise.report.view import category_title

Groups = Sequence[Sequence[str]]


def groups_figure(uses: Mapping[str, tuple[Mapping[str, float], Groups]]) -> Figure | None:
    """Return one panel for each use (category): means by model, the highest first, and its groups; None if no use."""
    uses = {category: (means, groups) for category, (means, groups) in uses.items() if means}
    if not uses:
        return None
    rows: list[list[CsvValue]] = [
        [category, name, mean, " ".join(str(n) for n, group in enumerate(groups, start=1) if name in group)]
        for category, (means, groups) in uses.items()
        for name, mean in means.items()
    ]
    return Figure(
        key="fig-groups",
        caption="Mean score of each model, the highest first. A bar at the left joins models of which no two are shown "
        "to differ; a model with no bar in common with another was shown to be better or worse.",
        panels=[_panel(category, means, groups) for category, (means, groups) in uses.items()],
        csv=Csv(["category", "model", "mean", "groups"], rows),
    )


def _panel(category: str, means: Mapping[str, float], groups: Groups) -> Panel:
    title = category_title(category)
    listed = ", ".join(f"{name} {score_text(mean)}" for name, mean in means.items())
    joined = "; ".join("no difference shown: " + ", ".join(group) for group in groups if len(group) > 1)
    alt = f"{title}: means {listed}; {joined or 'all differ'}"
    return Panel(title, grouped_svg(means, groups, padded(list(means.values())), "mean", alt), alt)
