"""A log -> the state of its experiment: verdicts, intervals over time, and how long it still takes."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
from pydantic import Field

from poolwise.experiments.comparison import Comparison, Look, compare_arms
from poolwise.experiments.design import Design
from poolwise.experiments.log import LogContents, read_log
from poolwise.experiments.users import DAY, HOUR, Observed, observe
from poolwise.experiments.verdict import Decision, Verdict, decide, decide_arm, users_needed
from poolwise.records import Record
from poolwise.stats.core.sample_ratio import log_split_e_value

SPLIT_ALPHA = 0.001
"""Error rate of the check of the split. It is low because a wrong split invalidates everything."""
DAILY_LOOKS = 60
"""So many days have a look each; of later ones every second, from twice as many days on every fourth, and so on."""
RATE_DAYS = 7.0
ASSUMPTION = (
    "Days to a verdict assume that the differences stay as they are estimated now and that new users arrive as in the "
    f"last {RATE_DAYS:g} days."
)


class LookRecord(Record):
    """One look at one metric of one arm. The interval is of the difference, arm minus baseline."""

    time: float
    users: tuple[int, int] = Field(description="of the baseline and of the arm")
    means: tuple[float, float] | None
    difference: float | None
    interval: tuple[float, float] | None


class MetricResult(Record):
    """One metric of one arm against the baseline: the last look, the verdict, and all looks before."""

    metric: str
    role: str
    arm: str
    baseline: str
    method: str
    level: float = Field(description="of the interval; all intervals of the experiment hold together with 1 - alpha")
    now: LookRecord
    e_value: float = Field(description="against no difference; large is evidence of one")
    verdict: Verdict
    decided_at: float | None
    days_left: float | None = Field(description="to a verdict; None if there is one, or if no time can be given")
    looks: list[LookRecord]


class ArmResult(Record):
    """One arm: how many saw it, and the decision against the baseline (none for the baseline itself)."""

    name: str
    model: str | None
    share: float
    users: int
    exposures: int
    decision: Decision | None
    days_left: float | None


class SplitCheck(Record):
    """Whether users fell into the arms as planned. ``is_right`` is False at any look with probability 0.001 at most."""

    e_value: float
    is_right: bool


class Analysis(Record):
    """The state of an experiment at one time, in seconds since 1970."""

    schema_version: int = 1
    name: str
    fingerprint: str = Field(description="of the design")
    alpha: float
    start: float | None
    at: float
    users: int = Field(description="that saw an arm or an interleaved list")
    lists: int = Field(description="interleaved lists, which belong to both arms")
    users_per_day: float
    split: SplitCheck
    arms: list[ArmResult]
    metrics: list[MetricResult]
    notes: list[str]
    problems: list[str] = Field(default_factory=list)
    """Lines of the log that could not be read; they are among the notes too."""


def analyse(folder: Path, now: float | None = None) -> Analysis:
    """Return the state of an experiment folder.

    Args:
        now: the time of the last look; None is the present, or when the last user counts if that was before.
    Raises: ConfigError where there is no design, or it was changed after the first event.
    """
    return analyse_log(read_log(folder), time.time() if now is None else now)


def analyse_log(contents: LogContents, now: float) -> Analysis:
    """Return the state of an experiment from the contents of its log."""
    design = contents.design
    observed = observe(design, contents.events)
    start = float(observed.users.first[0]) if len(observed.users.first) else None
    end = max(observed.last, min(now, observed.last + (design.window_hours or 0.0) * HOUR))
    times = _look_times(start, end)
    comparisons = (
        [found for metric in design.metrics for found in compare_arms(observed, metric, times)] if times else []
    )
    rate = _users_per_day(observed, start)
    results = [_result(found, design, start or 0.0, end, rate) for found in comparisons]
    split = _split(observed)
    return Analysis(
        name=design.name,
        fingerprint=design.fingerprint,
        alpha=design.alpha,
        start=start,
        at=end,
        users=len(observed.users.arms),
        lists=observed.num_lists,
        users_per_day=rate,
        split=split,
        arms=[_arm(observed, number, results, split) for number in range(len(design.arms))],
        metrics=results,
        notes=[*_notes(design, results), *observed.notes, *contents.problems],
        problems=contents.problems,
    )


def _look_times(start: float | None, end: float) -> list[float]:
    """Return the ends of days since the start, and the end.

    Law: the looks at ends of days are among those at any later time, so that no verdict is forgotten.
    """
    if start is None:
        return []
    days = int((end - start) / DAY)
    ends = [start + day * DAY for day in range(1, days + 1) if day % _days_between(day) == 0]
    return ends if ends and ends[-1] == end else [*ends, end]


def _days_between(day: int) -> int:
    return 1 if day <= DAILY_LOOKS else 2 ** math.ceil(math.log2(day / DAILY_LOOKS))


def _users_per_day(observed: Observed, start: float | None) -> float:
    if start is None or observed.last <= start:
        return 0.0
    since = max(start, observed.last - RATE_DAYS * DAY)
    return float(np.sum(observed.users.first > since) / (observed.last - since) * DAY)


def _result(found: Comparison, design: Design, start: float, end: float, rate: float) -> MetricResult:
    verdict, look = decide(found, design, start)
    last = found.looks[-1]
    return MetricResult(
        metric=found.metric.name,
        role=found.metric.role,
        arm=found.arm,
        baseline=design.baseline.name,
        method=found.method,
        level=1 - design.alpha_each,
        now=_record(last),
        e_value=math.exp(min(last.log_e, 700.0)),
        verdict=verdict,
        decided_at=look.time if look else None,
        days_left=None if look else _days_left(found, design, start, end, rate),
        looks=[_record(item) for item in found.looks],
    )


def _record(look: Look) -> LookRecord:
    return LookRecord(
        time=look.time, users=look.users, means=look.means, difference=look.difference, interval=look.interval
    )


def _days_left(found: Comparison, design: Design, start: float, end: float, rate: float) -> float | None:
    look = found.looks[-1]
    needed = users_needed(found.metric, look, design.alpha_each)
    pair = [arm.share for arm in design.arms if arm.name in (design.baseline.name, found.arm)]
    # Only users of the two arms count, and interleaved lists are shown to all.
    of_pair = rate if found.metric.kind == "preference" else rate * sum(pair) / sum(arm.share for arm in design.arms)
    if not (math.isfinite(needed) and of_pair > 0):
        return None
    counted = look.users[0] if found.metric.kind == "preference" else sum(look.users)
    if found.metric.kind == "preference":
        needed /= 2
    return max((needed - counted) / of_pair, design.min_days - (end - start) / DAY, 0.0)


def _split(observed: Observed) -> SplitCheck:
    design = observed.design
    arms = observed.users.arms[observed.users.arms >= 0]
    counts = np.bincount(arms, minlength=len(design.arms)).astype(np.float64)
    shares = np.array([arm.share for arm in design.arms], dtype=np.float64)
    log_e = float(log_split_e_value(counts, shares / shares.sum()))
    return SplitCheck(e_value=math.exp(min(log_e, 700.0)), is_right=log_e < -math.log(SPLIT_ALPHA))


def _arm(observed: Observed, number: int, results: list[MetricResult], split: SplitCheck) -> ArmResult:
    design = observed.design
    arm = design.arms[number]
    own = [result for result in results if result.arm == arm.name]
    metrics = {metric.name: metric for metric in design.metrics}
    decision = decide_arm([(metrics[r.metric], r.verdict) for r in own], is_split_right=split.is_right)
    open_ones = [result.days_left for result in own if result.decided_at is None]
    waits = decision == "continue" and open_ones and all(days is not None for days in open_ones)
    return ArmResult(
        name=arm.name,
        model=arm.model,
        share=arm.share / sum(other.share for other in design.arms),
        users=int(np.sum(observed.users.arms == number)),
        exposures=observed.exposures[arm.name],
        decision=decision if number else None,
        days_left=max(days for days in open_ones if days is not None) if number and waits else None,
    )


def _notes(design: Design, results: list[MetricResult]) -> list[str]:
    notes = [
        f"Each interval holds with {100 * (1 - design.alpha_each):.4g}%, at every look; all "
        f"{len(design.metrics) * (len(design.arms) - 1)} together with {100 * (1 - design.alpha):.4g}% (Bonferroni)."
    ]
    if design.window_hours is not None:
        notes.append(
            f"A user counts {design.window_hours:g} hours after the first exposure, with what was logged until then."
        )
    for result in results:
        if result.now.interval is None and min(result.now.users) >= design.min_users:
            notes.append(
                f"{result.metric}, {result.arm}: no value or no variation in {sum(result.now.users):,} users, so "
                "nothing is known of the difference. For rare events take kind binary, which needs no variation."
            )
    if any(result.days_left is not None for result in results):
        notes.append(ASSUMPTION)
    return notes
