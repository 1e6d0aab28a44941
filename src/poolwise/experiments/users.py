"""From events to one row per user and metric: who saw which arm when, and what followed."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poolwise.experiments.design import OF_EXPOSURES, Design, Metric
from poolwise.experiments.events import Exposure, Feedback, Logged
from poolwise.experiments.interleave import preference

HOUR, DAY = 3600.0, 86400.0
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Users:
    """All users of an experiment (U), in the order of their first exposures.

    Args:
        arms: number of each user's arm; -1 if only interleaved lists were shown. first: time of the first exposure.
        covariates: of the first exposure that has one; NaN without.
    """

    arms: IntArray
    first: FloatArray
    covariates: FloatArray


@dataclass(frozen=True)
class Values:
    """What was logged for one metric, as parts (P) that add up: a user's numerator and denominator are sums of them.

    Args:
        user: number of the user of each part. time: when it was logged.
    """

    user: IntArray
    time: FloatArray
    numerator: FloatArray
    denominator: FloatArray

    def at(self, kept: NDArray[np.bool_]) -> Values:
        """Return the parts that a mask keeps."""
        return Values(self.user[kept], self.time[kept], self.numerator[kept], self.denominator[kept])


@dataclass(frozen=True)
class Observed:
    """An experiment's data: users, exposures by arm, lists, the last time, and what is odd about the log."""

    design: Design
    users: Users
    exposures: Mapping[str, int]
    last: float
    notes: list[str]
    num_lists: int
    events: Sequence[Logged]
    times: FloatArray
    of_user: Mapping[str, int]


def observe(design: Design, events: Sequence[Logged]) -> Observed:
    """Return the users of a log.

    Events count in the order of their times: of those that they came with, or of the clock that wrote them, which is
    corrected where it was set. A user who saw two arms keeps the first: the comparison stays one of random groups.
    """
    events, times, notes = _in_order(events)
    place = {arm.name: number for number, arm in enumerate(design.arms)}
    of_user: dict[str, int] = {}
    arms: list[int] = []
    first: list[float] = []
    covariates: list[float] = []
    crossed: set[str] = set()
    lists = {
        one.event.id: one.event.teams
        for one in events
        if isinstance(one.event, Exposure) and one.event.teams is not None
    }
    strays = 0
    exposures: dict[str, int] = dict.fromkeys(place, 0)
    for logged, time in zip(events, times, strict=True):
        event = logged.event
        if not isinstance(event, Exposure):
            strays += event.event == "click" and event.exposure in lists and event.item not in lists[event.exposure]
            continue
        arm = -1 if event.arm is None else place[event.arm]
        if event.arm is not None:
            exposures[event.arm] += 1
        number = of_user.setdefault(event.user, len(of_user))
        if number == len(arms):
            arms.append(arm)
            first.append(float(time))
            covariates.append(np.nan)
        elif arm >= 0 and arms[number] < 0:
            arms[number] = arm
        elif arm not in (-1, arms[number]):
            crossed.add(event.user)
        if event.covariate is not None and np.isnan(covariates[number]):
            covariates[number] = event.covariate
    if crossed:
        notes.append(
            f"{len(crossed):,} of {len(arms):,} users saw more than one arm; each counts for the first one. The "
            "difference between the arms is then underestimated."
        )
    if strays:
        notes.append(
            f"{strays:,} clicks in interleaved lists name no document of their list; they count for no arm. Feedback "
            "needs the id that the list had as its item."
        )
    users = Users(np.array(arms, dtype=np.int64), np.array(first), np.array(covariates))
    last = float(times[-1]) if len(times) else 0.0
    return Observed(design, users, exposures, last, notes, len(lists), events, times, of_user)


def _in_order(events: Sequence[Logged]) -> tuple[list[Logged], FloatArray, list[str]]:
    """Return events in the order of their times, those times, and a note if a clock had to be corrected."""
    times = np.array([logged.time for logged in events], dtype=np.float64)
    by_clock = np.flatnonzero([not logged.is_given for logged in events])
    corrected = _steady(times[by_clock])
    moved = np.abs(corrected - times[by_clock])
    times[by_clock] = corrected
    order = np.argsort(times, kind="stable")
    notes = []
    if np.any(moved > 0):
        notes.append(
            f"The clock of the log was set back or ahead: {np.sum(moved > 0):,} events have a time that does not fit "
            f"those around them, by {moved.max():,.1f} s at most. They count at the time of the event before them."
        )
    return [events[place] for place in order], times[order], notes


def _steady(times: FloatArray) -> FloatArray:
    """Return the times of a clock in the order in which it told them, never going back.

    As many as can be are kept as they are (a longest subsequence that does not fall); each of the others becomes the
    kept one before it, or the first one. So neither one event years ahead nor one years back moves the rest.
    """
    if not np.any(np.diff(times) < 0):
        return times
    ends: list[float] = []
    places: list[int] = []
    before = np.full(len(times), -1)
    for place, time in enumerate(times.tolist()):
        length = bisect_right(ends, time)
        before[place] = places[length - 1] if length else -1
        ends[length : length + 1], places[length : length + 1] = [time], [place]
    kept = [places[-1]]
    while before[kept[-1]] >= 0:
        kept.append(int(before[kept[-1]]))
    kept.reverse()
    latest = np.searchsorted(kept, np.arange(len(times)), side="right") - 1
    return np.asarray(times[np.array(kept)[np.maximum(latest, 0)]])


def values_of(observed: Observed, metric: Metric) -> Values:
    """Return the parts of a metric: every event that adds to it, with its user and time."""
    users = observed.of_user
    exposures = {e.event.id: e.event for e in observed.events if isinstance(e.event, Exposure)}
    parts: list[tuple[int, float, float, float]] = []
    is_by_exposure = metric.kind == "ratio" and metric.per == "exposures"
    for logged, time in zip(observed.events, observed.times, strict=True):
        event = logged.event
        if isinstance(event, Exposure):
            if event.arm is None:
                continue
            # A failure may be fast: it says nothing of how long users wait for an answer.
            latency = None if event.error else event.latency
            value = latency if metric.event == "latency" else float(event.error)
            counts = metric.event in OF_EXPOSURES and value is not None
            if counts or (is_by_exposure and metric.event not in OF_EXPOSURES):
                parts.append((users[event.user], float(time), float(value or 0.0) if counts else 0.0, 1.0))
        elif event.event == metric.event:
            exposure = exposures.get(event.exposure)
            if exposure is not None and exposure.arm is not None:
                parts.append((users[exposure.user], float(time), event.value, 0.0 if is_by_exposure else 1.0))
    return _arrays(parts)


def preferences_of(observed: Observed, window: float) -> Values:
    """Return one part per interleaved list: which arm's documents its user clicked more, within the window."""
    baseline = observed.design.baseline.name
    lists = {
        e.event.id: e.event for e in observed.events if isinstance(e.event, Exposure) and e.event.teams is not None
    }
    clicks: defaultdict[str, list[str]] = defaultdict(list)
    for logged, time in zip(observed.events, observed.times, strict=True):
        event = logged.event
        if isinstance(event, Feedback) and event.event == "click" and event.item is not None:
            exposure = lists.get(event.exposure)
            if exposure is not None and time <= observed.users.first[observed.of_user[exposure.user]] + window:
                clicks[event.exposure].append(event.item)
    parts = [
        (observed.of_user[event.user], float(time), preference(event.teams or {}, clicks[event.id], baseline), 1.0)
        for logged, time in zip(observed.events, observed.times, strict=True)
        if isinstance(event := logged.event, Exposure) and event.teams is not None
    ]
    return _arrays(parts)


def _arrays(parts: Sequence[tuple[int, float, float, float]]) -> Values:
    table = np.array(parts, dtype=np.float64).reshape(-1, 4)
    return Values(table[:, 0].astype(np.int64), table[:, 1], table[:, 2], table[:, 3])
