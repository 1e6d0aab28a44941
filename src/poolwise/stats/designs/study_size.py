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
from scipy.special import ndtri

from poolwise.stats.core.noise import Noise, unseen_draws
from poolwise.stats.core.resampling import FloatArray, generator
from poolwise.stats.designs.power import MOST_SEEDS, joint_degrees, t_reach
from poolwise.stats.designs.suite import RANGES
from poolwise.stats.designs.verdict import ALPHA

NUM_DRAWS = 20_000
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
class Tests:
    """The family: how many tests are corrected together, and from how many designs the seed spread is pooled."""

    count: int
    num_designs: int


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
def detectable_difference(category: str, size: Size, variances: Variances, tests: Tests) -> float | None:
    """Return the difference of scores (0 to 1) that a study of this size finds in 80 of 100 repeats.

    None with one seed or one design: no test can then decide between designs.
    """
    if size.seeds < 2 or tests.num_designs < 2 or tests.count < 1:
        return None
    item = variances.item / independent_items(size.items) ** 0.5
    seed = variances.seed / size.seeds**0.5
    error = float(np.hypot(item, seed))
    if error == 0.0:
        return None
    # Designs share their seeds, so one degree of freedom a seed is lost to what all share.
    degrees = (size.seeds - 1) * (tests.num_designs - 1)
    normal, unseen = _draws(category, min(size.items), size.num_tasks)
    low, high = Noise(item * normal, seed, degrees, unseen).interval(0.0, 1 - ALPHA / tests.count)
    return error * t_reach(joint_degrees(item, seed, degrees), (high - low) / 2 / error)


@lru_cache(maxsize=64)
def _draws(category: str, smallest_task: int, num_tasks: int) -> tuple[FloatArray, FloatArray]:
    """Return normal draws at equally likely quantiles, in random order, and draws of what unseen items could add."""
    rng = generator(0, "study size", str(smallest_task), str(num_tasks))
    normal = rng.permutation(ndtri((np.arange(NUM_DRAWS) + 0.5) / NUM_DRAWS))
    return normal, unseen_draws(smallest_task, num_tasks, RANGES.get(category, 1.0), NUM_DRAWS, rng)


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
    tests: Tests

    @property
    def size(self) -> Size:
        """The size as planned."""
        return Size(self.capped(self.max_items), self.seeds)

    def capped(self, max_items: int | None) -> tuple[int, ...]:
        """Return the items of each task with at most ``max_items``."""
        return tuple(total if max_items is None else min(total, max_items) for total in self.totals)

    def detectable(self, size: Size | None = None) -> float | None:
        """Return what a size (default: the planned one) can find."""
        return detectable_difference(self.category, size or self.size, self.variances, self.tests)

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
