"""Power: which difference a contrast can detect, the sources of its uncertainty, and how much more data is needed."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, inf, isfinite, log2

import numpy as np
from scipy.special import gammaincinv, ndtr, ndtri, stdtrit

from poolwise.results import Contrast, Power, VarianceShare
from poolwise.stats.core.resampling import FloatArray, generator
from poolwise.stats.core.wilcoxon import walsh_outside
from poolwise.stats.designs.suite import Finding
from poolwise.stats.designs.verdict import ALPHA

POWER = 0.8
MOST_SEEDS = 100
SIGNED_RANK_EFFICIENCY = 0.955
"""With many tasks and normal differences, the signed-rank test needs 1 / 0.955 times the tasks of a t test."""
FEW_TASKS = 50
"""Up to this many tasks, the power of the signed-rank test is simulated. The large-sample formula is too optimistic:
its effect of 1.17 standard deviations for six tasks was detected in 47 of 100 studies instead of 80; at 30 tasks and
ten contrasts in 73."""
NUM_STUDIES = 4_000


def variance_share(finding: Finding) -> VarianceShare:
    """Return how much of the uncertainty comes from items, seeds and (for other tasks) tasks."""
    contrast = finding.contrast
    item, seed = float(finding.noise.items.var()), finding.seed.std**2
    task = _task_variance(finding.task_differences, item)
    parts = {"item": item, "seed": seed} | ({"task": task} if task is not None else {})
    total = sum(parts.values())
    return VarianceShare(
        category=contrast.category,
        a=contrast.a,
        b=contrast.b,
        item_std=float(np.sqrt(item)),
        seed_std=finding.seed.std,
        task_std=None if task is None else float(np.sqrt(task)),
        shares={name: part / total for name, part in parts.items()} if total > 0 else {},
    )


def _task_variance(differences: FloatArray, item: float) -> float | None:
    """Return the variance of the mean due to tasks: the variance between tasks minus the part explained by items."""
    if len(differences) < 2:
        return None
    return max(0.0, float(differences.var(ddof=1)) / len(differences) - item)


def suite_detectable(finding: Finding, simultaneous: tuple[float, float]) -> float:
    """Return the difference that the primary test of one contrast finds in 80 of 100 studies, by its joint interval."""
    item, seed = float(finding.noise.items.std()), finding.seed.std
    half = (simultaneous[1] - simultaneous[0]) / 2
    error = float(np.hypot(item, seed))
    return error * t_reach(_joint_degrees(item, seed, finding.seed.degrees), half / error) if error > 0 else half


def suite_power(
    finding: Finding, contrast: Contrast, detectable: float, num_family: float, equivalence: float
) -> Power:
    """Return what the primary test of one contrast can detect, and what more items, seeds or tasks would change."""
    item, seed = float(finding.noise.items.std()), finding.seed.std
    error = float(np.hypot(item, seed))
    count = contrast.num_seeds or 1
    seeds = _seeds_needed(item, seed, finding.seed.degrees, count, num_family, equivalence)
    items = _items_factor(item, seed, detectable / error, equivalence) if error > 0 else 1.0
    tasks = tasks_needed(finding.task_differences, num_family, equivalence)
    found = _power(contrast, equivalence, detectable, tasks, _sentence(detectable, equivalence, seeds, items, count))
    return found.model_copy(update={"seeds_needed": seeds, "items_factor": items})


def _power(contrast: Contrast, equivalence: float, detectable: float | None, tasks: int | None, sentence: str) -> Power:
    return Power(
        category=contrast.category,
        a=contrast.a,
        b=contrast.b,
        smallest_p=contrast.smallest_p or 1.0,
        equivalence=equivalence,
        detectable=detectable,
        tasks_needed=tasks,
        sentence=sentence,
    )


def _seeds_needed(item: float, seed: float, degrees: float, count: int, num_family: float, effect: float) -> int | None:
    if count < 2 or seed == 0.0:
        return None
    for wanted in range(count, MOST_SEEDS + 1):
        error = np.hypot(item, seed * np.sqrt(count / wanted))
        left = degrees * (wanted - 1) / (count - 1)
        if t_reach(left, float(stdtrit(left, 1 - ALPHA / (2 * num_family)))) * error <= effect:
            return wanted
    return None


def _joint_degrees(item: float, seed: float, degrees: float) -> float:
    """Satterthwaite's degrees of freedom of the joint error: the item part is known, the seed part is estimated."""
    return degrees * (item**2 + seed**2) ** 2 / seed**4 if seed > 1e-9 * item else inf


@lru_cache(maxsize=4096)
def t_reach(degrees: float, threshold: float) -> float:
    """Return the effect, in standard errors, that exceeds ``threshold`` estimated standard errors with power 0.8.

    An error estimated from few seeds can be too large, so this is more than the threshold plus 0.84: with two degrees
    of freedom, that sum detected 74 of 100 effects instead of 80.
    """
    if not isfinite(degrees):
        return threshold + float(ndtri(POWER))
    # Ratio of estimated to true standard error, at 400 equally likely quantiles.
    ratios = np.sqrt(gammaincinv(degrees / 2, (np.arange(400) + 0.5) / 400) * 2 / degrees)
    low, high = 0.0, threshold * float(ratios[-1]) + 2.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if ndtr(middle - threshold * ratios).mean() < POWER else (low, middle)
    return high


def _items_factor(item: float, seed: float, reach: float, effect: float) -> float | None:
    """Return the factor on the number of items that makes ``reach`` standard errors equal the effect; same seeds."""
    room = (effect / reach) ** 2 - seed**2
    return None if room <= 0 else max(1.0, item**2 / room)


def tasks_needed(differences: FloatArray, num_family: float, effect: float) -> int | None:
    """Return how many tasks like these the signed-rank test needs to detect the effect; None with a single task."""
    floor = ceil(1 - log2(ALPHA / num_family))
    if len(differences) < 2:
        return None
    spread, level = float(differences.std(ddof=1)), 1 - ALPHA / num_family
    if effect <= 0:
        return None
    if floor <= FEW_TASKS and signed_rank_reach(FEW_TASKS, level) * spread <= effect:
        low, high = floor - 1, FEW_TASKS
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if signed_rank_reach(middle, level) * spread <= effect else (middle, high)
        return high
    return max(floor, FEW_TASKS + 1, ceil((_reach_of_many(level) * spread / effect) ** 2))


@lru_cache(maxsize=1024)
def signed_rank_reach(count: int, level: float) -> float:
    """Return the mean of normal differences, in standard deviations, that the signed-rank test detects with power 0.8.

    Law: infinite below the smallest count that can reject.
    """
    if count > FEW_TASKS:
        return _reach_of_many(level) / count**0.5
    if not (outside := walsh_outside(count, level)):
        return inf
    # The test detects a mean that lifts the lower end of the interval above 0.
    samples = generator(0, "power", str(count)).normal(size=(NUM_STUDIES, count))
    row, column = np.triu_indices(count)
    ends = [np.partition((one[row] + one[column]) / 2, outside - 1)[outside - 1] for one in samples]
    return float(np.quantile(-np.array(ends), POWER))


def _reach_of_many(level: float) -> float:
    """Return ``signed_rank_reach`` for many tasks, times the square root of their number."""
    return float((ndtri((1 + level) / 2) + ndtri(POWER)) / np.sqrt(SIGNED_RANK_EFFICIENCY))


def task_detectable(differences: FloatArray, num_family: float) -> float | None:
    """Return the difference that the signed ranks of these tasks find in 80 of 100 studies; None if they cannot."""
    count = len(differences)
    if count < max(2, ceil(1 - log2(ALPHA / num_family))):
        return None
    return float(differences.std(ddof=1)) * signed_rank_reach(count, 1 - ALPHA / num_family)


def task_power(
    contrast: Contrast, differences: FloatArray, detectable: float | None, num_family: float, equivalence: float
) -> Power:
    """Return what the signed-rank test over these tasks can detect."""
    count, floor = len(differences), ceil(1 - log2(ALPHA / num_family))
    needed = tasks_needed(differences, num_family, equivalence)
    found = (
        f"With {count} tasks, a difference of {detectable:.4f} is detected in 80 of 100 studies"
        if detectable is not None
        else f"Too few tasks for significance: at least {floor} needed, {count} given"
    )
    more = f"; detecting {equivalence:g} needs about {needed} tasks" if needed is not None and needed > count else ""
    return _power(contrast, equivalence, detectable, needed, found + more + ".")


def _sentence(detectable: float, effect: float, seeds: int | None, items: float | None, count: int) -> str:
    found = f"A difference of {detectable:.4f} is detected in 80 of 100 studies like this one"
    if detectable <= effect:
        return found + "."
    ways = [f"{seeds} seeds instead of {count}"] if seeds is not None else []
    ways += [f"{items:.1f} times the items"] if items is not None else []
    if not ways:
        return f"{found}; detecting {effect:g} needs both more seeds and more items."
    return f"{found}; detecting {effect:g} needs {' or '.join(ways)}."
