"""The sampling noise of a difference: resampled items, and a seed effect whose size is itself only estimated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import stdtr, stdtrit

from poolwise.stats.core.resampling import FloatArray, is_few, permutation_p

EDGE = 300
"""Draws kept one by one at either end when tails are needed; those between are averaged in blocks of their order."""

MOST_STEPS = 60
PRECISION = 1e-5
"""Of the tail's probability: far below what the draws themselves leave open."""


@dataclass(frozen=True)
class Noise:
    """Item draws (centred on 0) plus ``seed_std`` times Student's t with ``degrees`` of freedom.

    Adding a t-distributed seed effect, rather than a normal one, carries the ignorance of its size: the
    Behrens-Fisher way of joining two estimated variances, which keeps its level from below.
    """

    items: FloatArray
    seed_std: float
    degrees: float

    def p(self, observed: float, scale: float) -> float:
        """Return the two-sided p of an observed difference; in (0, 1].

        The t part is integrated, not drawn: the only Monte Carlo error is that of the items, and one is added to
        both counts for the arrangement at hand.
        """
        if self.seed_std <= 1e-9 * scale:
            return permutation_p(observed, self.items, scale)
        reach = abs(observed) / self.seed_std
        shifts = self.items / self.seed_std
        beyond = stdtr(self.degrees, -reach - shifts) + stdtr(self.degrees, shifts - reach)
        return float((beyond.sum() + 1) / (len(shifts) + 1))

    def least_p(self, observed: float, scale: float, num_units: int) -> float:
        """Return the least p that these draws could give: that of their outermost where few units make them up.

        Args:
            num_units: the independent units behind the draws.
        """
        if not is_few(num_units, len(self.items)):
            return 1 / (len(self.items) + 1)
        return self.p(max(abs(observed), float(np.abs(self.items).max())), scale)

    def interval(self, observed: float, level: float) -> tuple[float, float]:
        """Return ``observed`` plus the central ``level`` part of the noise."""
        tail = (1 - level) / 2
        return observed + self.quantile(tail), observed + self.quantile(1 - tail)

    @property
    def std(self) -> float:
        """The standard deviation, with the seed effect's own estimate rather than its tails."""
        return float(np.hypot(self.items.std(), self.seed_std))

    @cached_property
    def _atoms(self) -> tuple[FloatArray, FloatArray]:
        """The item draws as fewer weighted points, exact at both ends."""
        ordered = np.sort(self.items)
        if len(ordered) <= 6 * EDGE:
            return ordered, np.full(len(ordered), 1 / len(ordered))
        blocks = np.array_split(ordered[EDGE:-EDGE], 4 * EDGE)
        points = np.concatenate([ordered[:EDGE], [block.mean() for block in blocks], ordered[-EDGE:]])
        sizes = np.concatenate([np.ones(EDGE), [len(block) for block in blocks], np.ones(EDGE)])
        return points, sizes / len(ordered)

    def quantile(self, probability: float) -> float:
        """Return the value below which the noise falls with this probability."""
        if self.seed_std <= 1e-12:
            return float(np.quantile(self.items, probability))
        points, weights = self._atoms
        # The quantile lies between those of "the most extreme item draw plus the t quantile" at either end.
        edge = float(stdtrit(self.degrees, probability)) * self.seed_std
        low, high = float(points[0]) + edge, float(points[-1]) + edge
        surplus_low, surplus_high = -probability, 1 - probability
        for step in range(MOST_STEPS):
            # Illinois: the secant, with a bisection now and then where the distribution is flat.
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
