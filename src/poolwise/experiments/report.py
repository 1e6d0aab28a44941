"""The report of an experiment: one HTML file with every metric over time and its confidence sequence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from poolwise.experiments.analyse import Analysis, ArmResult, MetricResult
from poolwise.experiments.design import Design, Metric
from poolwise.experiments.users import DAY
from poolwise.experiments.view import (
    TONES,
    arm_table,
    metric_table,
    number_text,
    range_text,
    sentence_of,
    signed_text,
    time_text,
)
from poolwise.report.blocks import (
    Bullets,
    Card,
    Cards,
    Code,
    Csv,
    CsvValue,
    Document,
    Figure,
    Folded,
    LegendEntry,
    Panel,
    Paragraph,
    Section,
)
from poolwise.report.figures.svg import WIDTH, Drawing, Scale, element, padded, path_data, tick_text
from poolwise.report.page import html_document
from poolwise.storage.whole_files import held_from_beside, write_text

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 210.0, 48.0, 10.0, 8.0, 166.0
NUM_COLOURS = 8


def write_experiment_report(found: Analysis, design: Design, path: Path) -> None:
    """Write the report of an experiment, one self-contained HTML file.

    Raises: ConfigError where another process is writing it.
    """
    with held_from_beside(path):
        write_text(path, html_document(experiment_document(found, design)))


def experiment_document(found: Analysis, design: Design) -> Document:
    """Return the report of an analysis."""
    figures = [_figure(metric, own, found) for metric in design.metrics if (own := _with_looks(found, metric))]
    sections = [
        Section("verdict", "Verdict", [_cards(found)], is_folded=False),
        Section("metrics", "Metrics", [metric_table(found), *figures]),
        Section("arms", "Arms and split", [arm_table(found)]),
        Section("method", "Method", [Bullets([*found.notes, *_methods(found)]), _design(design)]),
    ]
    return Document(
        title=f"Experiment {found.name}",
        facts=[
            ("Design", found.fingerprint),
            ("From", time_text(found.start)),
            ("To", time_text(found.at)),
            ("Users", f"{found.users:,}"),
            ("New users a day", f"{found.users_per_day:,.0f}"),
            ("Error rate of all verdicts together", f"{found.alpha:g}"),
        ],
        sections=sections,
        warnings=[] if found.split.is_right else ["The split is not as planned: no result below can be trusted."],
    )


def _with_looks(found: Analysis, metric: Metric) -> list[MetricResult]:
    return [result for result in found.metrics if result.metric == metric.name and result.looks]


def _cards(found: Analysis) -> Cards | Paragraph:
    if found.start is None:
        return Paragraph("No exposures yet.")
    baseline = found.arms[0].name
    return Cards([_card(found, arm, baseline) for arm in found.arms[1:]])


def _card(found: Analysis, arm: ArmResult, baseline: str) -> Card:
    details = [
        (result.metric, f"{signed_text(result.now.difference)} {range_text(result.now.interval)}: {result.verdict}")
        for result in found.metrics
        if result.arm == arm.name
    ]
    is_stop = arm.decision in ("stop for harm", "stop: split is wrong")
    sentence = sentence_of(arm, baseline)
    return Card(
        title=f"{arm.name} against {baseline}: {arm.decision}",
        kind="stop" if is_stop else "open" if arm.decision == "continue" else "decided",
        name={"superior": arm.name, "equivalent": f"{arm.name} or {baseline}"}.get(arm.decision or "", baseline),
        sentence="" if is_stop else sentence,
        warning=sentence if is_stop else "",
        details=details,
    )


def _figure(metric: Metric, results: Sequence[MetricResult], found: Analysis) -> Figure:
    start = found.start or 0.0
    end = max((found.at - start) / DAY, 1e-3)
    x = Scale(0.0, end, LEFT, WIDTH - RIGHT)
    colours = {arm.name: f"c{place % NUM_COLOURS + 1}" for place, arm in enumerate(found.arms)}
    panels = [_difference_panel(metric, result, start, x) for result in results]
    if (means := _means_panel(results, start, x, colours)) is not None:
        panels.append(means)
    most = f"{metric.margin:g}"
    limit = f"the guard may be worse by {most}" if metric.role == "guard" else f"differences below {most} do not matter"
    return Figure(
        key=f"fig-{metric.name}",
        caption=f"{metric.name} by day. Line: difference; filled: its confidence sequence, which holds at every look; "
        f"grey band: {limit}. {'More' if metric.direction == 'up' else 'Less'} is better.",
        panels=panels,
        csv=_csv(results, start),
        legend=[LegendEntry(n, name, colours[name]) for n, name in enumerate(colours, start=1)],
    )


def _difference_panel(metric: Metric, result: MetricResult, start: float, x: Scale) -> Panel:
    looks = [look for look in result.looks if look.difference is not None]
    known = [(look, look.interval) for look in looks if look.interval is not None]
    # An early interval can be a hundred times as wide as the last: the scale fits the last half.
    shown = [v for _, pair in known[len(known) // 2 :] for v in pair] or [look.difference or 0.0 for look in looks]
    y = Scale(*padded([*shown, -metric.margin, metric.margin], zero=True), BOTTOM, TOP)
    drawing = Drawing(WIDTH, HEIGHT)
    drawing.band(LEFT, WIDTH - RIGHT, y(metric.margin), y(-metric.margin), "region")
    drawing.y_axis(y, LEFT, WIDTH - RIGHT, number_text)
    drawing.x_axis(x, BOTTOM, BOTTOM, tick_text, "days since the first user")
    drawing.line(LEFT, y(0.0), WIDTH - RIGHT, y(0.0), "zero")
    tone = TONES[result.verdict]

    def point(time: float, value: float) -> tuple[float, float]:
        return x((time - start) / DAY), min(max(y(value), TOP), BOTTOM)

    if known:
        upper = [point(look.time, pair[1]) for look, pair in known]
        lower = [point(look.time, pair[0]) for look, pair in reversed(known)]
        drawing.parts.append(element("path", class_=f"sequence {tone}", d=f"{path_data([*upper, *lower])}Z"))
    if looks:
        drawing.path([point(look.time, look.difference or 0.0) for look in looks], f"curve {tone}")
        last = looks[-1]
        drawing.mark(*point(last.time, last.difference or 0.0), tone, _words(result))
    return Panel(f"{result.metric}: {result.arm} minus {result.baseline}", drawing.svg(_words(result)), _words(result))


def _words(result: MetricResult) -> str:
    now = result.now
    return (
        f"{result.metric}, {result.arm} minus {result.baseline}: {signed_text(now.difference)} "
        f"{range_text(now.interval)} at the last look, {result.verdict}"
    )


def _means_panel(results: Sequence[MetricResult], start: float, x: Scale, colours: dict[str, str]) -> Panel | None:
    """Each arm's mean by day; None for a preference, which has no means."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for place, result in enumerate(results):
        for look in result.looks:
            if look.means is None:
                continue
            day = (look.time - start) / DAY
            if place == 0:
                lines.setdefault(result.baseline, []).append((day, look.means[0]))
            lines.setdefault(result.arm, []).append((day, look.means[1]))
    if not lines:
        return None
    y = Scale(*padded([value for line in lines.values() for _, value in line]), BOTTOM, TOP)
    drawing = Drawing(WIDTH, HEIGHT)
    drawing.y_axis(y, LEFT, WIDTH - RIGHT, number_text)
    drawing.x_axis(x, BOTTOM, BOTTOM, tick_text, "days since the first user")
    for arm, line in lines.items():
        drawing.path([(x(day), y(value)) for day, value in line], f"curve {colours[arm]}")
    last = ", ".join(f"{arm} {number_text(line[-1][1])}" for arm, line in lines.items())
    alt = f"{results[0].metric} by arm: {last}"
    return Panel(f"{results[0].metric} by arm", drawing.svg(alt), alt)


def _csv(results: Sequence[MetricResult], start: float) -> Csv:
    header = ["arm", "baseline", "day", "users_baseline", "users_arm", "mean_baseline", "mean_arm", "difference"]
    rows: list[list[CsvValue]] = [
        [
            *(result.arm, result.baseline, (look.time - start) / DAY, *look.users),
            *(look.means or (None, None)),
            look.difference,
            *(look.interval or (None, None)),
        ]
        for result in results
        for look in result.looks
    ]
    return Csv([*header, "low", "high"], rows)


def _methods(found: Analysis) -> list[str]:
    by_method: dict[str, list[str]] = {}
    for result in found.metrics:
        by_method.setdefault(result.method, []).append(result.metric)
    return [f"{', '.join(dict.fromkeys(names))}: {method}." for method, names in by_method.items()]


def _design(design: Design) -> Folded:
    text = yaml.safe_dump(design.model_dump(mode="json", exclude={"salt"}), sort_keys=False, allow_unicode=True)
    return Folded("The design, fixed before the first event", [Code(text, "yaml")])
