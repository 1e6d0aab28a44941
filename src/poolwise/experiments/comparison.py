"""One metric of one arm against the baseline, at every look, with intervals that hold at all looks at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poolwise.experiments.design import Design, Metric
from poolwise.experiments.users import HOUR, Observed, Values, preferences_of, values_of
from poolwise.stats.core.betting import (
    Stakes,
    arm_values,
    betting_interval,
    build_arm_stakes,
    build_stakes,
    log_e_values,
)
from poolwise.stats.core.confidence_sequence import half_widths, tuned_prior
from poolwise.stats.core.confidence_sequence import log_e_values as log_mixture_e_values
from poolwise.stats.core.user_means import SUMS, difference, user_sums

FloatArray = NDArray[np.float64]
_MOST_VALUES = 1000
"""More distinct values of a bounded metric are rounded to this many steps: it moves a mean by half a step at most."""
SEQUENCE = "asymptotic confidence sequence over users"
ADJUSTED = f"{SEQUENCE}, adjusted for the covariate (CUPED)"
BETTING = "betting on each user's value, valid at any sample size"


@dataclass(frozen=True)
class Look:
    """What was known at one time, in seconds since 1970.

    Args:
        users: of the baseline and of the arm that count so far. means: theirs; None where nothing was logged.
        interval: of the difference; None while there are too few users or the values do not vary.
        information: one over the variance of the difference; 0 if unknown. log_e: against no difference.
    """

    time: float
    users: tuple[int, int]
    means: tuple[float, float] | None
    difference: float | None
    interval: tuple[float, float] | None
    information: float
    log_e: float


@dataclass(frozen=True)
class Comparison:
    """All looks at one metric of one arm, and the test that was used."""

    metric: Metric
    arm: str
    method: str
    looks: list[Look]


def compare_arms(observed: Observed, metric: Metric, times: Sequence[float]) -> list[Comparison]:
    """Return the comparison of each arm with the baseline at each time."""
    if metric.kind == "preference":
        return [_preference(observed, metric, times)]
    design = observed.design
    values = values_of(observed, metric)
    arms = range(1, len(design.arms))
    if metric.is_bounded:
        return [_bounded(observed, metric, values, number, times) for number in arms]
    return [_unbounded(observed, metric, values, number, times) for number in arms]


def _window(design: Design) -> float:
    return np.inf if design.window_hours is None else design.window_hours * HOUR


def _within(observed: Observed, values: Values) -> Values:
    """Return the parts that were logged within their user's window."""
    return values.at(values.time <= observed.users.first[values.user] + _window(observed.design))


def _per_user(values: Values, num_users: int) -> tuple[FloatArray, FloatArray]:
    sums = (np.bincount(values.user, part, num_users) for part in (values.numerator, values.denominator))
    first, second = (np.asarray(total, dtype=np.float64) for total in sums)
    return first, second


def _unbounded(observed: Observed, metric: Metric, values: Values, arm: int, times: Sequence[float]) -> Comparison:
    """A mean or a ratio: its asymptotic confidence sequence."""
    design, users = observed.design, observed.users
    adjust = bool(np.any(~np.isnan(users.covariates)))
    known = users.covariates[~np.isnan(users.covariates)]
    covariates = np.where(np.isnan(users.covariates), known.mean() if len(known) else 0.0, users.covariates)
    prior = tuned_prior(metric.margin, design.alpha_each)

    def sums_of(parts: Values) -> FloatArray:
        numerators, denominators = _per_user(parts, len(users.arms))
        return user_sums(numerators, np.ones_like(numerators) if metric.kind == "mean" else denominators, covariates)

    counted = users.first + (0.0 if design.window_hours is None else _window(design))
    fixed = None if design.window_hours is None else sums_of(_within(observed, values))
    looks = []
    for time in times:
        rows = fixed
        if rows is None:
            rows = sums_of(values.at(values.time <= time))
        here = [(users.arms == number) & (counted <= time) for number in (0, arm)]
        arms = [rows[mask].sum(axis=0) if mask.any() else np.zeros(len(SUMS)) for mask in here]
        looks.append(_sequence_look(arms, design, prior, time, adjust=adjust))
    return Comparison(metric, design.arms[arm].name, ADJUSTED if adjust else SEQUENCE, looks)


def _sequence_look(arms: list[FloatArray], design: Design, prior: float, time: float, *, adjust: bool) -> Look:
    users = (int(arms[0][0]), int(arms[1][0]))
    if min(users) < 2 or min(sums[2] for sums in arms) == 0:
        return Look(time, users, None, None, None, 0.0, 0.0)
    found = difference(arms[0], arms[1], adjust=adjust)
    estimate, variance = float(found.estimate), float(found.variance)
    means = (float(found.baseline), float(found.treatment))
    # Without any variation, nothing is known about it: an interval of width 0 would claim everything.
    if min(users) < design.min_users or variance <= 0:
        return Look(time, users, means, estimate, None, 0.0, 0.0)
    information = np.array(1 / variance)
    width = float(half_widths(information, prior, design.alpha_each))
    log_e = float(log_mixture_e_values(np.array(estimate), information, prior))
    return Look(time, users, means, estimate, (estimate - width, estimate + width), float(information), log_e)


def _bounded(observed: Observed, metric: Metric, values: Values, arm: int, times: Sequence[float]) -> Comparison:
    """A user's value with known bounds: a betting confidence sequence."""
    design, users = observed.design, observed.users
    outcomes = _outcomes(observed, metric, values)
    shares = [design.arms[number].share for number in (0, arm)]
    share = shares[1] / sum(shares)
    low, high = metric.bounds
    expected = metric.expected if metric.expected is not None else (low + high) / 2
    stakes = build_arm_stakes(low, high, expected, share, metric.margin, binary=metric.kind == "binary")
    levels, place = np.unique(_rounded(outcomes, low, high), return_inverse=True)
    bets = np.concatenate(arm_values(levels, expected, share))
    counted = users.first + _window(design)
    looks = []
    for time in times:
        counts = np.stack(
            [np.bincount(place[(users.arms == n) & (counted <= time)], minlength=len(levels)) for n in (0, arm)]
        ).astype(np.float64)
        looks.append(_betting_look(levels, counts, bets, stakes, design, time))
    return Comparison(metric, design.arms[arm].name, BETTING, looks)


def _outcomes(observed: Observed, metric: Metric, values: Values) -> FloatArray:
    """Return each user's value, fixed when the window ends."""
    parts = _within(observed, values)
    numerators, counts = _per_user(parts, len(observed.users.arms))
    if metric.kind == "binary":
        # An exposure without an error is a part of value 0; other events are there or not.
        return ((numerators > 0) if metric.event == "error" else (counts > 0)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(counts > 0, numerators / np.maximum(counts, 1), metric.filled)


def _rounded(outcomes: FloatArray, low: float, high: float) -> FloatArray:
    if len(np.unique(outcomes)) <= _MOST_VALUES:
        return outcomes
    step = (high - low) / _MOST_VALUES
    return low + np.round((outcomes - low) / step) * step


def _betting_look(
    levels: FloatArray, counts: FloatArray, bets: FloatArray, stakes: Stakes, design: Design, time: float
) -> Look:
    users = (int(counts[0].sum()), int(counts[1].sum()))
    if min(users) == 0:
        return Look(time, users, None, None, None, 0.0, 0.0)
    means = (float(counts[0] @ levels / users[0]), float(counts[1] @ levels / users[1]))
    estimate = means[1] - means[0]
    if min(users) < design.min_users:
        return Look(time, users, means, estimate, None, 0.0, 0.0)
    return _bet(bets, counts.ravel(), stakes, design, Look(time, users, means, estimate, None, 0.0, 0.0))


def _bet(bets: FloatArray, counts: FloatArray, stakes: Stakes, design: Design, look: Look) -> Look:
    interval = betting_interval(bets, counts, stakes, design.alpha_each)
    log_e = float(log_e_values(bets, counts, 0.0, stakes))
    total = counts.sum()
    variance = float(counts @ (bets - counts @ bets / total) ** 2 / total**2)
    return Look(look.time, look.users, look.means, look.difference, interval, 1 / variance if variance else 0.0, log_e)


def _preference(observed: Observed, metric: Metric, times: Sequence[float]) -> Comparison:
    """The mean preference of users over interleaved lists, in [-1, 1]; 0 is none."""
    design, users = observed.design, observed.users
    window = _window(design)
    values = _within(observed, preferences_of(observed, window))
    sums, lists = _per_user(values, len(users.arms))
    shown = lists > 0
    preferred = _rounded(np.where(shown, sums / np.maximum(lists, 1), 0.0), -1.0, 1.0)
    levels, place = np.unique(preferred, return_inverse=True)
    stakes = build_stakes(-1.0, 1.0, 0.5, metric.margin)
    looks = []
    for time in times:
        counts = np.bincount(place[shown & (users.first + window <= time)], minlength=len(levels)).astype(np.float64)
        total = int(counts.sum())
        if total < 2 * design.min_users:
            looks.append(Look(time, (total, total), None, None, None, 0.0, 0.0))
            continue
        mean = float(counts @ levels / total)
        empty = Look(time, (total, total), None, mean, None, 0.0, 0.0)
        looks.append(_bet(levels, counts, stakes, design, empty))
    return Comparison(metric, design.arms[1].name, BETTING, looks)
