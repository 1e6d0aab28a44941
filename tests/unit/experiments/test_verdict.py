"""Verdicts of intervals and decisions over metrics, each worked out by hand."""

from __future__ import annotations

import math

import pytest

from ab_folder import CLICKED, LATENCY
from poolwise.experiments.comparison import Look
from poolwise.experiments.design import Metric
from poolwise.experiments.verdict import decide_arm, users_needed, verdict_of

PRIMARY, GUARD = Metric.model_validate(CLICKED), Metric.model_validate(LATENCY)  # margins 0.1 (up) and 30 (down)
TOLERANT = Metric.model_validate(CLICKED | {"harm": 0.2})


@pytest.mark.parametrize(
    ("metric", "interval", "verdict"),
    [
        (PRIMARY, None, "continue"),
        (PRIMARY, (0.01, 0.5), "superior"),
        (PRIMARY, (0.01, 0.05), "superior"),
        (PRIMARY, (-0.5, -0.01), "harm"),
        (PRIMARY, (-0.09, 0.09), "equivalent"),
        (PRIMARY, (-0.09, 0.11), "continue"),
        (PRIMARY, (-0.11, 0.09), "continue"),
        (TOLERANT, (-0.5, -0.21), "harm"),
        (TOLERANT, (-0.5, -0.1), "inferior"),
        (GUARD, (-9.0, 29.0), "safe"),
        (GUARD, (-9.0, 31.0), "continue"),
        (GUARD, (31.0, 50.0), "harm"),
        (GUARD, (5.0, 29.0), "safe"),
        (GUARD, (-99.0, -50.0), "safe"),
    ],
)
def test_the_verdict_of_an_interval(metric: Metric, interval: tuple[float, float] | None, verdict: str) -> None:
    assert verdict_of(metric, interval) == verdict


@pytest.mark.parametrize(
    ("primary", "guards", "decision"),
    [
        (["superior"], ["safe"], "superior"),
        (["superior"], [], "superior"),
        (["superior"], ["continue"], "continue"),
        (["superior"], ["harm"], "stop for harm"),
        (["superior", "continue"], ["safe"], "superior"),
        (["superior", "inferior"], ["safe"], "continue"),
        (["superior", "harm"], ["safe"], "stop for harm"),
        (["equivalent", "equivalent"], ["safe"], "equivalent"),
        (["equivalent", "continue"], ["safe"], "continue"),
        (["equivalent"], ["continue"], "continue"),
        (["inferior"], ["continue"], "inferior"),
        (["continue"], ["safe"], "continue"),
    ],
)
def test_the_decision_over_metrics(primary: list[str], guards: list[str], decision: str) -> None:
    verdicts = [(PRIMARY, verdict) for verdict in primary] + [(GUARD, verdict) for verdict in guards]
    assert decide_arm(verdicts, is_split_right=True) == decision  # type: ignore[arg-type]
    assert decide_arm(verdicts, is_split_right=False) == "stop: split is wrong"  # type: ignore[arg-type]


def look(difference: float, information: float = 1000.0) -> Look:
    return Look(0.0, (500, 500), (0.3, 0.3 + difference), difference, (-1.0, 1.0), information, 0.0)


def test_the_users_needed() -> None:
    # A larger difference, or one nearer to none, is decided earlier than one of half the margin.
    needed = [users_needed(PRIMARY, look(difference), 0.05) for difference in (0.0, 0.02, 0.05, 0.08, 0.2)]
    assert needed[0] < needed[1] < needed[2] > needed[3] > needed[4]
    assert users_needed(PRIMARY, look(0.05, 2000.0), 0.05) == pytest.approx(needed[2] / 2)
    assert users_needed(GUARD, look(30.0), 0.05) == math.inf  # the estimate is at its limit
    assert users_needed(PRIMARY, look(0.05, 0.0), 0.05) == math.inf
