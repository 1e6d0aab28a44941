"""Tests of a bounded mean by betting, valid at every look and at every sample size.

Somebody bets against "the mean is m": a stake of ``size`` multiplies the wealth by 1 + size * (z - m) at each value z.
If m is true, no bet gains on average, so wealth of 1 / alpha has probability alpha at most (Ville's inequality). A
mixture of fixed stakes is used. Its wealth does not depend on the order of the values, so it is computed from counts
of distinct values, and two readers of one log always agree.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", arXiv:2010.09686: the
capital process, the hedge of both directions with half of the wealth each, and the confidence sequence by inversion.
Where we differ: their stakes are predictable plug-ins, ours a fixed mixture around the stake that suits the margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_REACH = 4
"""Stakes are 2**-4 to 2**4 times the middle one."""
_MOST_LOST = 0.75
"""The largest share of its wealth that a stake may lose at one value."""


@dataclass(frozen=True)
class Stakes:
    """The stakes of one direction, with the share of the wealth that each gets; values lie in [low, high]."""

    sizes: FloatArray
    log_shares: FloatArray
    low: float
    high: float


def build_stakes(low: float, high: float, variance: float, margin: float) -> Stakes:
    """Return stakes for values in [low, high]: most wealth on the stake that gains most at a mean of ``margin`` off.

    Args:
        variance: a guess, made before the data; a bad one costs power and no validity.
    """
    steps = np.arange(-_REACH, _REACH + 1)
    shares = 0.5 ** np.abs(steps)
    sizes = np.asarray(margin / variance * 2.0**steps, dtype=np.float64)
    return Stakes(sizes, np.log(shares / shares.sum()), low, high)


def log_wealths(values: FloatArray, counts: FloatArray, mean: float, stakes: Stakes) -> tuple[FloatArray, FloatArray]:
    """Return the log wealth of bets on "above ``mean``" and of bets on "below", each from its half.

    Args:
        values: the distinct values (V). counts: how often each was seen (... V); further axes are experiments.
    """
    off = np.asarray(values, dtype=np.float64) - mean
    above, below = (
        counts @ np.log1p(sign * np.multiply.outer(off, _capped(stakes.sizes, worst))) + stakes.log_shares
        for sign, worst in ((1, mean - stakes.low), (-1, stakes.high - mean))
    )
    return _log_sum(above) - math.log(2), _log_sum(below) - math.log(2)


def _log_sum(logs: FloatArray) -> FloatArray:
    largest = logs.max(axis=-1)
    return np.asarray(largest + np.log(np.exp(logs - largest[..., None]).sum(axis=-1)))


def _capped(sizes: FloatArray, worst: float) -> FloatArray:
    """Return stakes of which the worst value takes no more than may be lost; wealth stays monotone in the mean."""
    return np.minimum(sizes, _MOST_LOST / worst) if worst > 0 else sizes


def log_e_values(values: FloatArray, counts: FloatArray, mean: float, stakes: Stakes) -> FloatArray:
    """Return the larger log wealth of the two directions: log(1 / alpha) or more rejects the mean at alpha."""
    return np.asarray(np.maximum(*log_wealths(values, counts, mean, stakes)))


def betting_interval(values: FloatArray, counts: FloatArray, stakes: Stakes, alpha: float) -> tuple[float, float]:
    """Return the means that are not rejected at alpha, an interval; all possible means without values.

    Law: 0 is outside exactly where ``log_e_values`` of 0 reaches log(1 / alpha).
    """
    target = -math.log(alpha)

    def bound(inside: float, outside: float, direction: int) -> float:
        # Wealth of one direction falls or rises with the mean all the way, so bisection finds where it is lost.
        if float(log_wealths(values, counts, outside, stakes)[direction]) < target:
            return outside
        for _ in range(50):
            middle = (inside + outside) / 2
            if float(log_wealths(values, counts, middle, stakes)[direction]) < target:
                inside = middle
            else:
                outside = middle
        return outside

    if not np.sum(counts):
        return stakes.low, stakes.high
    return bound(stakes.high, stakes.low, 0), bound(stakes.low, stakes.high, 1)


def arm_values(outcomes: FloatArray, expected: float, share: float) -> tuple[FloatArray, FloatArray]:
    """Return what one user's outcome adds to the difference of two arms, as baseline and as treatment.

    The outcome less ``expected``, over the probability of the user's arm, and negative in the baseline: its mean over
    the random assignment is the difference of the arms' means, whatever ``expected`` is and however means drift.
    ``expected`` near the true mean gives the smallest variance.

    Args:
        share: probability of the treatment among users of the two arms.
    Source: Horvitz and Thompson (1952), with a constant taken off.
    """
    off = np.asarray(outcomes, dtype=np.float64) - expected
    return -off / (1 - share), off / share


def build_arm_stakes(low: float, high: float, expected: float, share: float, margin: float, *, binary: bool) -> Stakes:
    """Return stakes for the values of ``arm_values`` with outcomes in [low, high]."""
    ends = np.concatenate(arm_values(np.array([low, high]), expected, share))
    spread = expected * (1 - expected) if binary else ((high - low) / 4) ** 2
    return build_stakes(float(ends.min()), float(ends.max()), max(spread, 1e-9) / (share * (1 - share)), margin)
