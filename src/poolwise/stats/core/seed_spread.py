"""How much a category mean varies with the training seed, estimated from few seeds.

Seeds are crossed with items: the model of a seed sees all items, so more items tell nothing about other seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import stdtr, stdtrit

from poolwise.stats.core.resampling import FloatArray

SEED_RULE = (
    "Its variance is that of the two designs' own seeds; the variance pooled over all designs counts as one more "
    "degree of freedom."
)

PRIOR_DEGREES = 1
"""Degrees of freedom that the pooled variance counts for."""


@dataclass(frozen=True)
class SeedNoise:
    """The seed part of a difference of means: its standard deviation and its degrees of freedom."""

    std: float
    degrees: float


@dataclass(frozen=True)
class SeedTable:
    """The category means of every entrant, by seed.

    ``fixed`` entrants trained nothing, so their scores do not vary with the seed. They are left out of the estimate.
    """

    means: Mapping[str, FloatArray]
    seeds: Mapping[str, Sequence[int]]
    fixed: frozenset[str] = frozenset()

    def has_spread(self, name: str) -> bool:
        """Return whether an entrant has at least two seeds."""
        return len(self.means[name]) > 1

    @property
    def is_paired(self) -> bool:
        """Whether all entrants that vary with the seed have the same seeds, and so the same batches."""
        return len({tuple(self.seeds[name]) for name in self._spread}) <= 1

    @property
    def _spread(self) -> list[str]:
        return [name for name in self.means if self.has_spread(name) and name not in self.fixed]

    @cached_property
    def pooled(self) -> SeedNoise | None:
        """The seed effect of one run, pooled over entrants; with equal seeds, without the part that all share.

        None if no entrant varies with the seed.
        """
        return self._pool(without_shared=self.is_paired)

    def _pool(self, *, without_shared: bool) -> SeedNoise | None:
        rows = [self.means[name] for name in self._spread]
        if not rows:
            return None
        left = [row - row.mean() for row in rows]
        degrees = sum(len(row) - 1 for row in rows)
        if without_shared and len(rows) > 1:
            left = list(np.array(left) - np.mean(left, axis=0))
            degrees -= len(rows[0]) - 1
        return SeedNoise(float(np.sqrt(sum(float(row @ row) for row in left) / degrees)), degrees)

    def own(self, a: str, b: str) -> SeedNoise:
        """Return the seed part of ``mean(a) - mean(b)`` from these two entrants alone (Welch if the seeds differ)."""
        moving = [name for name in (a, b) if name in self._spread]
        if len(moving) == 2 and list(self.seeds[a]) == list(self.seeds[b]):
            differences = self.means[a] - self.means[b]
            return SeedNoise(float(differences.std(ddof=1) / np.sqrt(len(differences))), len(differences) - 1)
        parts = [
            (float(self.means[name].var(ddof=1)) / len(self.means[name]), len(self.means[name]) - 1) for name in moving
        ]
        variance = sum(part for part, _ in parts)
        spread = sum(part**2 / degrees for part, degrees in parts)
        least = min((degrees for _, degrees in parts), default=1)
        return SeedNoise(float(np.sqrt(variance)), variance**2 / spread if spread > 0 else least)

    def noise(self, a: str, b: str) -> SeedNoise:
        """Return the seed part of ``mean(a) - mean(b)``; 0 if neither varies with the seed.

        Two or three seeds of two designs tell little about their spread (one or two degrees of freedom), and those of
        all designs together tell nothing about a design that is less stable than the others. So the pooled variance
        counts as one more observation, whatever the number of designs. With one of eight designs ten times as
        variable, the reference or another, 5% or less of families got a false verdict; where the larger of both
        estimates was used with the pooled degrees of freedom, 21% (docs/decisions/004).
        """
        moving = [name for name in (a, b) if name in self._spread]
        # A model that does not vary with the seed does not share what the others have in common at a seed.
        of_all = self.pooled if len(moving) == 2 else self._pool(without_shared=False)
        if of_all is None or not moving:
            return SeedNoise(0.0, 1)
        pooled = of_all.std**2 * sum(1 / len(self.means[name]) for name in moving)
        own = self.own(a, b)
        degrees = own.degrees + PRIOR_DEGREES
        variance = (own.degrees * own.std**2 + PRIOR_DEGREES * pooled) / degrees
        return SeedNoise(float(np.sqrt(variance)), min(degrees, of_all.degrees))


def planned_degrees(num_seeds: int, num_designs: int) -> int:
    """Return the degrees of freedom that ``SeedTable.noise`` will have where all designs have the same seeds."""
    own = num_seeds - 1
    return min(own + PRIOR_DEGREES, own * (num_designs - 1))


def satterthwaite(
    difference: float, item_variance: float, item_degrees: float, seed: SeedNoise, level: float
) -> tuple[float, tuple[float, float]]:
    """Return p and interval of a t test whose variance is the sum of an item and a seed part; the sum must be > 0.

    Source: Satterthwaite (1946), degrees of freedom of a sum of mean squares.
    """
    variance = item_variance + seed.std**2
    degrees = variance**2 / (item_variance**2 / item_degrees + seed.std**4 / seed.degrees)
    error = float(np.sqrt(variance))
    p = 2 * float(stdtr(degrees, -abs(difference) / error))
    half = float(stdtrit(degrees, (1 + level) / 2)) * error
    return min(1.0, max(p, float(np.finfo(float).tiny))), (difference - half, difference + half)


def pigeonhole(
    runs: tuple[FloatArray, FloatArray], seeds: tuple[Sequence[int], Sequence[int]], rng: np.random.Generator
) -> FloatArray:
    """Return resampled differences; items and seeds are both resampled, crossed.

    Args:
        runs: the item-resampled category means of a and of b (resamples x seeds each).
        seeds: their seeds; if equal, they are drawn together.
    Source: Owen (2007), The pigeonhole bootstrap.
    """
    first = _seed_weights(runs[0], rng)
    second = first if list(seeds[0]) == list(seeds[1]) else _seed_weights(runs[1], rng)
    return np.asarray((runs[0] * first).mean(axis=1) - (runs[1] * second).mean(axis=1))


def _seed_weights(columns: FloatArray, rng: np.random.Generator) -> FloatArray:
    count = columns.shape[1]
    return rng.multinomial(count, np.full(count, 1 / count), size=len(columns)).astype(np.float64)
