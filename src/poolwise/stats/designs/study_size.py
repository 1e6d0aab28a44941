"""Which difference a planned study can find, and the cheapest items, seeds and tasks that find a given one.

The variance of a design's difference, of a category's mean over T tasks with n_t items and S seeds, is
``item**2 * sum(1 / n_t) / T**2 + seed**2 / S``. Items are paired, and the seed part does not shrink with more items.
Source: Miller (2024), arXiv:2411.00640, sections 4 and 5, for the item part; the seed part is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.special import gammaincinv, ndtr, ndtri

from poolwise.stats.core.noise import Noise
from poolwise.stats.core.resampling import FloatArray
from poolwise.stats.core.seed_spread import planned_degrees
from poolwise.stats.core.spending import look_shares
from poolwise.stats.designs.power import MOST_SEEDS, POWER
from poolwise.stats.designs.verdict import ALPHA

NUM_DRAWS = 20_000
RATIOS = np.geomspace(0.01, 100, 17)
"""Item part over seed part at which the width of an interval is computed; widths between are interpolated."""
MOST_TASKS = 100
ITEMS_SLACK = 0.02
"""Items are planned to 2%: an exact count would promise more than variances from a pilot can say."""
Change = Literal["items", "seeds", "tasks", "items and seeds"]


@dataclass(frozen=True)
class Variances:
    """The standard deviations of one difference of two designs: of one item, and of a category's mean at one seed."""

    item: float
    seed: float


@dataclass(frozen=True)
class Family:
    """How many tests are corrected together, and from how many designs the seed spread is pooled.

    With ``has_looks`` the study also tests after each earlier seed, so its last look may use only a part of 0.05.
    """

    count: int
    num_designs: int
    has_looks: bool = False

    def alpha(self, seeds: int) -> float:
        """Return the error rate of one test at the look that has all seeds, of which there are at least 2."""
        share = look_shares(seeds)[seeds] if self.has_looks else 1.0
        return ALPHA * share / self.count


@dataclass(frozen=True)
class Size:
    """The items of each task of a category, and the number of seeds."""

    items: tuple[int, ...]
    seeds: int

    @property
    def num_tasks(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Way:
    """One way to find a difference: what is changed, the size, what it can find, and its cost.

    ``max_items`` is the most items of a task; None if all its items are used. ``times`` is a multiple of the time of
    the study as it is now.
    """

    change: Change
    size: Size
    max_items: int | None
    detectable: float
    times: float


def independent_items(items: Sequence[int]) -> float:
    """Return the N for which the mean over these tasks has the item variance of one task with N items."""
    return len(items) ** 2 / sum(1 / count for count in items)


@lru_cache(maxsize=4096)
def detectable_difference(size: Size, variances: Variances, family: Family) -> float | None:
    """Return the difference of scores (0 to 1) that a study of this size finds in 80 of 100 repeats.

    None with one seed or one design: no test can then decide between designs.
    """
    if size.seeds < 2 or family.num_designs < 2 or family.count < 1:
        return None
    item = variances.item / independent_items(size.items) ** 0.5
    seed = variances.seed / size.seeds**0.5
    error = float(np.hypot(item, seed))
    if error == 0.0:
        return None
    degrees = planned_degrees(size.seeds, family.num_designs)
    halves = _half_widths(item, seed, degrees, 1 - family.alpha(size.seeds))
    low, high = 0.0, float(halves.max()) + 2 * error
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if ndtr((middle - halves) / error).mean() < POWER else (low, middle)
    return high


def _half_widths(item: float, seed: float, degrees: int, level: float) -> FloatArray:
    """Return half the width of the test's interval, for 400 equally likely estimates of the seed's deviation."""
    if seed == 0.0:
        return np.array([item * ndtri((1 + level) / 2)])
    estimates = seed * np.sqrt(gammaincinv(degrees / 2, (np.arange(400) + 0.5) / 400) * 2 / degrees)
    ratios = np.log(np.maximum(item / estimates, RATIOS[0]))
    return np.asarray(np.interp(ratios, np.log(RATIOS), _widths(degrees, level)) * np.hypot(item, estimates))


@lru_cache(maxsize=512)
def _widths(degrees: int, level: float) -> FloatArray:
    """Return half widths in standard deviations, where the item part is each of RATIOS times the seed part."""
    noise = (Noise(ratio * _normal_draws(), 1.0, degrees) for ratio in RATIOS)
    return np.array([one.quantile((1 + level) / 2) / one.std for one in noise])


@lru_cache(maxsize=1)
def _normal_draws() -> FloatArray:
    """Return normal draws at equally likely quantiles."""
    return np.asarray(ndtri((np.arange(NUM_DRAWS) + 0.5) / NUM_DRAWS))


@dataclass(frozen=True)
class Planned:
    """One category of a planned study.

    Args:
        totals: how many items each of its tasks has.
        max_items: the most items used of a task; None: all.
    """

    category: str
    totals: tuple[int, ...]
    max_items: int | None
    seeds: int
    variances: Variances
    family: Family

    @property
    def size(self) -> Size:
        """The size as planned."""
        return Size(self.capped(self.max_items), self.seeds)

    def capped(self, max_items: int | None) -> tuple[int, ...]:
        """Return the items of each task with at most ``max_items``."""
        return tuple(total if max_items is None else min(total, max_items) for total in self.totals)

    def detectable(self, size: Size | None = None) -> float | None:
        """Return what a size (default: the planned one) can find."""
        return detectable_difference(size or self.size, self.variances, self.family)

    def finds(self, effect: float, size: Size | None = None) -> bool:
        """Return whether a size (default: the planned one) finds ``effect`` in 80 of 100 repeats."""
        found = self.detectable(size)
        return found is not None and found <= effect

    def least_items(self, effect: float, seeds: int) -> int | None:
        """Return the smallest ``max_items``, from the planned one on, that finds the effect with ``seeds`` seeds."""
        first = min(self.max_items or max(self.totals), max(self.totals))
        return _least(
            first, max(self.totals), lambda cap: self.finds(effect, Size(self.capped(cap), seeds)), ITEMS_SLACK
        )

    def least_seeds(self, effect: float, max_items: int | None) -> int | None:
        """Return the smallest number of seeds, from the planned one on, that finds the effect."""
        items = self.capped(max_items)
        return _least(max(2, self.seeds), MOST_SEEDS, lambda seeds: self.finds(effect, Size(items, seeds)))

    def least_tasks(self, effect: float) -> int | None:
        """Return the smallest number of tasks, of the present items each, that finds the effect."""
        first = len(self.totals)
        return _least(first, MOST_TASKS, lambda count: self.finds(effect, Size(self.more_tasks(count), self.seeds)))

    def more_tasks(self, count: int) -> tuple[int, ...]:
        """Return the items of ``count`` tasks: the present ones, and others of their average size."""
        present = self.size.items
        return (*present, *[round(sum(present) / len(present))] * (count - len(present)))


def ways(planned: Planned, effect: float, times: Callable[[Size, Planned], float]) -> list[Way]:
    """Return the ways to find ``effect``, the cheapest first; [] if none of them can, or the plan already does.

    Args:
        times: of a size of this category, the multiple of the present study's time.
    """
    if planned.finds(effect):
        return []
    found = [way for way in _ways(planned, effect, times) if way is not None]
    return sorted(found, key=lambda way: way.times)


def _ways(planned: Planned, effect: float, times: Callable[[Size, Planned], float]) -> Iterator[Way | None]:
    now = planned.max_items

    def way(change: Change, size: Size, max_items: int | None) -> Way:
        detectable = planned.detectable(size)
        assert detectable is not None
        return Way(change, size, max_items, detectable, times(size, planned))

    cap = planned.least_items(effect, planned.seeds)
    yield None if cap is None else way("items", Size(planned.capped(cap), planned.seeds), cap)
    seeds = planned.least_seeds(effect, now)
    yield None if seeds is None else way("seeds", Size(planned.capped(now), seeds), now)
    tasks = planned.least_tasks(effect)
    yield None if tasks is None else way("tasks", Size(planned.more_tasks(tasks), planned.seeds), now)
    both = [
        way("items and seeds", Size(planned.capped(most), more), most)
        for more, most in _both(planned, effect, seeds or MOST_SEEDS)
    ]
    yield min(both, key=lambda one: one.times, default=None)


def _both(planned: Planned, effect: float, most_seeds: int) -> Iterator[tuple[int, int]]:
    """Yield (seeds, max_items) that find the effect with more of both, from the fewest seeds on."""
    fewest = planned.least_seeds(effect, None)
    for seeds in _tried(fewest, most_seeds - 1):
        if seeds > planned.seeds and (cap := planned.least_items(effect, seeds)) is not None:
            yield seeds, cap


def _tried(fewest: int | None, most: int) -> list[int]:
    """Return numbers of seeds to try together with more items: the further from the fewest, the less each saves."""
    return [] if fewest is None else [fewest + more for more in (0, 1, 2, 4, 8, 16) if fewest + more <= most]


def together(
    categories: Sequence[Planned], effect: float, times: Callable[[int, int | None], float]
) -> tuple[int, int | None, float] | None:
    """Return the cheapest (seeds, max_items, times) with which every category finds ``effect``; None if none does.

    Args:
        times: of seeds and ``max_items`` for all tasks, the multiple of the present study's time.
    """
    fewest = [one.least_seeds(effect, None) for one in categories]
    known = [count for count in fewest if count is not None]
    if not known or len(known) < len(fewest):
        return None
    largest = max(total for one in categories for total in one.totals)
    found = []
    for seeds in _tried(max(known), MOST_SEEDS):
        caps = [cap for one in categories if (cap := one.least_items(effect, seeds)) is not None]
        cap = None if max(caps) >= largest else max(caps)
        found.append((seeds, cap, times(seeds, cap)))
    return min(found, key=lambda one: one[2])


def _least(first: int, last: int, is_enough: Callable[[int], bool], slack: float = 0.0) -> int | None:
    """Return the smallest count from ``first`` to ``last`` that is enough, where more is never worse; None if none.

    Args:
        slack: the answer may be too large by this share.
    """
    if first > last or not is_enough(last):
        return None
    if is_enough(first):
        return first
    low, high = first, last
    while high - low > max(1, slack * low):
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
