"""An analysis as words and tables, for the terminal and the page."""

from __future__ import annotations

import datetime

from poolwise.experiments.analyse import Analysis, ArmResult, MetricResult
from poolwise.experiments.verdict import Decision, Verdict
from poolwise.report.amounts import MINUS
from poolwise.report.blocks import Cell, Column, Table, Tone
from poolwise.report.plain import plain_table

TONES: dict[Verdict, Tone] = {
    "superior": "better",
    "inferior": "worse",
    "harm": "worse",
    "equivalent": "equal",
    "safe": "equal",
    "continue": "undecided",
}
SENTENCES: dict[Decision, str] = {
    "superior": "{arm} is better than {baseline}, and no guard metric is worse: use {arm}.",
    "equivalent": "{arm} and {baseline} differ by less than the margin in every metric: use the cheaper one.",
    "inferior": "{arm} is worse than {baseline}: keep {baseline}.",
    "stop for harm": "{arm} does harm: stop it now and keep {baseline}.",
    "stop: split is wrong": "Users do not fall into the arms as planned: trust no result and find the cause.",
    "continue": "{arm} against {baseline} is not decided: continue.",
}


def number_text(value: float | None) -> str:
    """Return a number of any size with four significant digits; a dash if there is none."""
    return "–" if value is None else f"{value:,.4g}".replace("-", MINUS)


def signed_text(value: float | None) -> str:
    """Return a difference of any size with its sign."""
    return "–" if value is None else f"{value:+,.4g}".replace("-", MINUS)


def range_text(interval: tuple[float, float] | None) -> str:
    """Return an interval with signs; a dash if there is none."""
    return "–" if interval is None else f"[{signed_text(interval[0])}, {signed_text(interval[1])}]"


def time_text(time: float | None) -> str:
    """Return a time in UTC to the minute; a dash if there is none."""
    return "–" if time is None else f"{datetime.datetime.fromtimestamp(time, datetime.UTC):%Y-%m-%d %H:%M} UTC"


def days_text(days: float | None) -> str:
    """Return how long it takes, in days; a dash if it is not known."""
    if days is None:
        return "–"
    return "a day or less" if days <= 1 else f"about {days:,.0f} days"


def sentence_of(arm: ArmResult, baseline: str) -> str:
    """Return the decision of an arm in words, with the time that it still takes."""
    text = SENTENCES[arm.decision or "continue"].format(arm=arm.name, baseline=baseline)
    wait = f" At the present rate that takes {days_text(arm.days_left)}." if arm.days_left is not None else ""
    return text + wait


def arm_table(found: Analysis) -> Table:
    """Return the arms: planned share, users, exposures, and the decision of each."""
    total = sum(arm.users for arm in found.arms)
    rows = [
        [
            Cell(arm.name, note=arm.model or ""),
            Cell(f"{arm.share:.1%}"),
            Cell(f"{arm.users / total:.1%}" if total else "–"),
            Cell(f"{arm.users:,}"),
            Cell(f"{arm.exposures:,}"),
            Cell(arm.decision or "baseline"),
        ]
        for arm in found.arms
    ]
    check = (
        f"Split: {'as planned' if found.split.is_right else 'NOT as planned'} (e-value "
        f"{number_text(found.split.e_value)}; 1,000 or more means that the split is wrong)."
    )
    if found.lists:
        check += f" Besides, {found.lists:,} lists had rows of both arms, interleaved."
    columns = ["Arm", "Planned", "Found", "Users", "Exposures", "Decision"]
    head = [Column(title, is_number=title in columns[1:5]) for title in columns]
    return Table("tab-arms", "Arms", head, rows, note=check)


def metric_table(found: Analysis) -> Table:
    """Return each metric of each arm against the baseline, at the last look."""
    rows = [
        [
            Cell(f"{result.metric}: {result.arm} {MINUS} {result.baseline}", note=result.role),
            Cell(f"{result.now.users[0]:,} / {result.now.users[1]:,}"),
            Cell(" / ".join(number_text(mean) for mean in result.now.means) if result.now.means else "–"),
            Cell(signed_text(result.now.difference)),
            Cell(range_text(result.now.interval)),
            Cell(number_text(result.e_value)),
            Cell(result.verdict, note=_when(result), tone=TONES[result.verdict]),
        ]
        for result in found.metrics
    ]
    titles = ["Metric", "Users that count", "Means", "Difference", "Interval", "E-value", "Verdict"]
    head = [Column(title, is_number=title in titles[1:6]) for title in titles]
    return Table("tab-metrics", "Metrics", head, rows)


def _when(result: MetricResult) -> str:
    if result.decided_at is not None:
        return f"since {time_text(result.decided_at)}"
    return "" if result.days_left is None else days_text(result.days_left)


def analysis_text(found: Analysis) -> str:
    """Return an analysis as plain text for a terminal: arms, metrics, notes, and the decision at the end."""
    baseline = found.arms[0].name
    if found.start is None:
        return "\n\n".join([f"Experiment {found.name}: no exposures yet.", *found.problems])
    arms, metrics = arm_table(found), metric_table(found)
    parts = [
        f"Experiment {found.name}, design {found.fingerprint}: {time_text(found.start)} to {time_text(found.at)}, "
        f"{found.users_per_day:,.0f} new users a day",
        f"{plain_table(arms)}\n{arms.note}",
        plain_table(metrics),
        *found.notes,
        *(sentence_of(arm, baseline) for arm in found.arms[1:]),
    ]
    return "\n\n".join(parts)
