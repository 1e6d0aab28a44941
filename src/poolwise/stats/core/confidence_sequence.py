"""Asymptotic confidence sequences: intervals for a mean or a difference that hold at every look at growing data.

The clock is the information: one over the variance of the estimate. For a mean of t values it is t over their variance,
and an estimate times its information then moves like a Brownian motion, whatever the variance and however it drifts.

Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences", arXiv:2103.06476: the Gaussian mixture boundary after Robbins, in the form for values whose variances
differ. Written with I = t / sigma^2 and phi = 1 / rho^2, the half-width of the paper,
sigma * sqrt(2 (t rho^2 + 1) / (t^2 rho^2) * log(sqrt(t rho^2 + 1) / alpha)), is sqrt((I + phi) * log((I + phi) /
(phi alpha^2))) / I. The level is asymptotic: it holds once variances are estimated well, so the first look needs many
users (measured by ``benchmarks/experiment_levels.py``).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import lambertw

FloatArray = NDArray[np.float64]


def tuned_prior(margin: float, alpha: float) -> float:
    """Return phi, the information of the mixture's prior, for a sequence that is tightest when its half-width is
    ``margin``.

    It depends on the design alone and not on the data, as the guarantee asks; another value would cost width only.
    Source: the minimiser of the boundary at a given time, the exact form with Lambert's W, in arXiv:2103.06476.
    """
    if not (margin > 0 and 0 < alpha < 1):
        raise ValueError(f"margin must be positive and alpha in (0, 1), got {margin} and {alpha}")
    ratio = -float(lambertw(-(alpha**2) / math.e, -1).real) - 1
    target = (1 + 1 / ratio) * math.log((1 + ratio) / alpha**2) / margin**2
    return target / ratio


def half_widths(information: FloatArray, prior: float, alpha: float) -> FloatArray:
    """Return the half-width of the interval at each information; infinite where there is none.

    Law: it shrinks as information grows, and the intervals of one stream hold all at once with probability 1 - alpha.
    """
    known = np.asarray(information, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        widths = np.sqrt((known + prior) * np.log((known + prior) / (prior * alpha**2))) / known
    return np.where(known > 0, widths, np.inf)


def log_e_values(estimates: FloatArray, information: FloatArray, prior: float) -> FloatArray:
    """Return the logarithm of the e-value against a true value of 0: how much a bet against it has gained.

    Law: it is at least log(1 / alpha) exactly where 0 is outside the interval at alpha.
    """
    known = np.asarray(information, dtype=np.float64)
    gain = (estimates * known) ** 2 / (2 * (known + prior))
    return np.asarray(gain - 0.5 * np.log((known + prior) / prior))


def information_needed(half_width: float, prior: float, alpha: float) -> float:
    """Return the information at which the half-width has shrunk to a given one; infinite if that is not positive."""
    if not half_width > 0:
        return math.inf
    low, high = 0.0, prior
    while float(half_widths(np.array(high), prior, alpha)) > half_width:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        is_wide = middle == 0 or float(half_widths(np.array(middle), prior, alpha)) > half_width
        low, high = (middle, high) if is_wide else (low, middle)
    return high
