"""The sampling noise of a difference: resampled items plus a seed effect of estimated size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import stdtr, stdtrit

from poolwise.stats.core.resampling import FloatArray, is_few, permutation_p

EDGE = 300
"""Draws kept individually at each end, for exact tails; the draws between are averaged in blocks of sorted order."""

MOST_STEPS = 60
PRECISION = 1e-5
"""Relative to the tail probability: far below the Monte Carlo error of the draws."""


@dataclass(frozen=True)
class Noise:
    """Item draws (centred on 0) plus ``seed_std`` times Student's t with ``degrees`` of freedom.

    The seed effect is t-distributed, not normal, because its size is only estimated. This is the Behrens-Fisher way
    to combine two estimated variances; it errs on the conservative side.

    ``unseen``: draws of what items like none of these could add (``unseen_draws``). They widen intervals on both sides
    where no difference was found; a difference that was found shows that enough items differ to resample.
    """

    items: FloatArray
    seed_std: float
    degrees: float
    unseen: FloatArray | None = None

    def p(self, observed: float, scale: float) -> float:
        """Return the two-sided p of an observed difference; in (0, 1].

        The t part is integrated, not drawn, so the only Monte Carlo error is that of the items. One is added to both
        counts for the observed arrangement.
        """
        if self.seed_std <= 1e-9 * scale:
            return permutation_p(observed, self.items, scale)
        reach = abs(observed) / self.seed_std
        shifts = self.items / self.seed_std
        beyond = stdtr(self.degrees, -reach - shifts) + stdtr(self.degrees, shifts - reach)
        return float((beyond.sum() + 1) / (len(shifts) + 1))

    def least_p(self, observed: float, scale: float, num_units: int) -> float:
        """Return the smallest p that these draws can give; with few units, the p of the most extreme draw.

        Args:
            num_units: number of independent units behind the draws.
        """
        if not is_few(num_units, len(self.items)):
            return 1 / (len(self.items) + 1)
        return self.p(max(abs(observed), float(np.abs(self.items).max())), scale)

    def interval(self, observed: float, level: float, *, is_found: bool = False) -> tuple[float, float]:
        """Return ``observed`` plus the interval that holds the central ``level`` share of the noise.

        Args:
            is_found: whether a test at 1 - ``level`` found a difference: the interval is then not widened.
        """
        tail = (1 - level) / 2
        below, above = self, self
        if self.unseen is not None and not is_found:
            below = Noise(self.items - self.unseen, self.seed_std, self.degrees)
            above = Noise(self.items + self.unseen, self.seed_std, self.degrees)
        return observed + below.quantile(tail), observed + above.quantile(1 - tail)

    @property
    def std(self) -> float:
        """The standard deviation, with ``seed_std`` for the seed effect (not the larger one of its t tails)."""
        return float(np.hypot(self.items.std(), self.seed_std))

    @cached_property
    def _atoms(self) -> tuple[FloatArray, FloatArray]:
        """The item draws reduced to fewer weighted points, exact at both ends."""
        ordered = np.sort(self.items)
        if len(ordered) <= 6 * EDGE:
            return ordered, np.full(len(ordered), 1 / len(ordered))
        blocks = np.array_split(ordered[EDGE:-EDGE], 4 * EDGE)
        points = np.concatenate([ordered[:EDGE], [block.mean() for block in blocks], ordered[-EDGE:]])
        sizes = np.concatenate([np.ones(EDGE), [len(block) for block in blocks], np.ones(EDGE)])
        return points, sizes / len(ordered)

    def quantile(self, probability: float) -> float:
        """Return the value that the noise is below with this probability."""
        if self.seed_std <= 1e-12:
            return float(np.quantile(self.items, probability))
        points, weights = self._atoms
        # The quantile is between the smallest and the largest item draw, each plus the t quantile.
        edge = float(stdtrit(self.degrees, probability)) * self.seed_std
        low, high = float(points[0]) + edge, float(points[-1]) + edge
        surplus_low, surplus_high = -probability, 1 - probability
        for step in range(MOST_STEPS):
            # Illinois method: secant steps, with a bisection every fourth step for flat stretches of the distribution.
            share = 0.5 if step % 4 == 3 else surplus_low / (surplus_low - surplus_high)
            middle = low + (high - low) * share
            surplus = float(weights @ stdtr(self.degrees, (middle - points) / self.seed_std)) - probability
            if abs(surplus) < PRECISION * min(probability, 1 - probability):
                return middle
            if surplus < 0:
                low, surplus_low, surplus_high = middle, surplus, surplus_high / 2
            else:
                high, surplus_high, surplus_low = middle, surplus, surplus_low / 2
        return (low + high) / 2


def unseen_bound(num_units: int, reach: float, level: float) -> float:
    """Return the largest mean difference that ``num_units`` items without any could hide, exactly, on each side."""
    return float(reach * -np.expm1(np.log((1 - level) / 2) / num_units))


def unseen_draws(num_units: int, num_tasks: int, reach: float, num_draws: int, rng: np.random.Generator) -> FloatArray:
    """Return draws of the largest difference that items unlike all ``num_units`` seen ones could hide.

    Ten items without a difference do not show that there is none: items that differ by ``reach``, the range of the
    score, may be up to 26% of all (1 - 0.05^(1 / 10)). Resampled items cannot show what was not seen, so this is added.
    Without any difference among the items, the quantile at 1 - alpha is the exact bound 1 - alpha^(1 / n), the rule of
    three; with k items of n that differ fully, the sum is close to Clopper and Pearson's bound.

    Args:
        num_units: independent items of the smallest task; what is hidden there counts by 1 / ``num_tasks``.
    Source: Gaffke (2005), Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative
        variable: one more observation at the end of the range makes a resampled bound valid.
    """
    return np.asarray(reach / num_tasks * -np.expm1(np.log(rng.random(num_draws)) / num_units))
