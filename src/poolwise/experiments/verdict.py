"""Verdicts: what an interval that holds at every look says of an arm, per metric and over all metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from poolwise.experiments.comparison import Comparison, Look
from poolwise.experiments.design import Design, Metric
from poolwise.experiments.users import DAY
from poolwise.stats.core.confidence_sequence import information_needed, tuned_prior

Verdict = Literal["superior", "equivalent", "inferior", "safe", "harm", "continue"]
Decision = Literal["superior", "equivalent", "inferior", "stop for harm", "stop: split is wrong", "continue"]


def verdict_of(metric: Metric, interval: tuple[float, float] | None) -> Verdict:
    """Return the verdict of one interval of the difference, arm minus baseline.

    Primary: "superior" or "inferior" if 0 is outside, "harm" if all of it is worse than ``harm``, "equivalent" if all
    of it is within the margin. Guard: "safe" if all of it is better than ``margin`` worse, "harm" if all is worse.
    """
    if interval is None:
        return "continue"
    low, high = interval if metric.direction == "up" else (-interval[1], -interval[0])
    if metric.role == "guard":
        return "harm" if high < -metric.margin else "safe" if low > -metric.margin else "continue"
    if high < -metric.harm:
        return "harm"
    if low > 0:
        return "superior"
    if high < 0:
        return "inferior"
    return "equivalent" if -metric.margin < low and high < metric.margin else "continue"


def decide(comparison: Comparison, design: Design, start: float) -> tuple[Verdict, Look | None]:
    """Return the verdict of a metric and the look at which it was reached.

    The first verdict stays, because the error rate covers all looks; only harm replaces it. Verdicts other than harm
    wait for ``min_days``.
    """
    reached: tuple[Verdict, Look | None] = ("continue", None)
    for look in comparison.looks:
        found = verdict_of(comparison.metric, look.interval)
        if found == "harm":
            return "harm", look
        if reached[1] is None and found != "continue" and look.time - start >= design.min_days * DAY:
            reached = found, look
    return reached


def decide_arm(verdicts: Sequence[tuple[Metric, Verdict]], *, is_split_right: bool) -> Decision:
    """Return the decision over all metrics of one arm.

    A wrong split stops everything, then harm in any metric. "superior" needs one superior primary metric, no inferior
    one, and every guard safe; "equivalent" needs all primary metrics equivalent and every guard safe.
    """
    primary = [verdict for metric, verdict in verdicts if metric.role == "primary"]
    guards = [verdict for metric, verdict in verdicts if metric.role == "guard"]
    if not is_split_right:
        return "stop: split is wrong"
    if "harm" in (*primary, *guards):
        return "stop for harm"
    if "inferior" in primary:
        return "continue" if "superior" in primary else "inferior"
    if any(verdict != "safe" for verdict in guards):
        return "continue"
    if "superior" in primary:
        return "superior"
    return "equivalent" if set(primary) == {"equivalent"} else "continue"


def users_needed(metric: Metric, look: Look, alpha: float) -> float:
    """Return how many users of both arms a verdict needs in all, if the difference stays as it is estimated now.

    Infinite where the estimate lies on the border between two verdicts, or nothing is known yet.
    """
    if look.difference is None or not look.information:
        return math.inf
    better = look.difference if metric.direction == "up" else -look.difference
    # Primary: 0 excluded, or all within the margin, whichever needs the wider interval. Guard: its limit excluded.
    width = abs(better + metric.margin) if metric.role == "guard" else max(abs(better), metric.margin - abs(better))
    needed = information_needed(width, tuned_prior(metric.margin, alpha), alpha)
    return sum(look.users) * needed / look.information
