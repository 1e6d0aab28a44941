"""What a contrast could have found, what its uncertainty is made of, and how much more data would do."""

from __future__ import annotations

from math import ceil, log2

import numpy as np
from scipy.special import ndtri, stdtrit

from poolwise.results import Contrast, Power, VarianceShare
from poolwise.stats.resampling import FloatArray
from poolwise.stats.suite import Finding
from poolwise.stats.verdict import ALPHA

POWER = 0.8
MOST_SEEDS = 100
SIGNED_RANK_EFFICIENCY = 0.955
"""The signed-rank test needs 1 / 0.955 times the tasks of a t test on normal differences."""


def variance_share(finding: Finding) -> VarianceShare | None:
    """Return how much of the uncertainty comes from items, seeds, and (for other tasks) tasks; None if untested."""
    if finding.items is None or finding.seed is None:
        return None
    contrast = finding.contrast
    item, seed = float(finding.items.items.var()), finding.seed.std**2
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
    """Variance of the mean from task to task, less what the items of a task explain of it."""
    if len(differences) < 2:
        return None
    return max(0.0, float(differences.var(ddof=1)) / len(differences) - item)


def suite_power(finding: Finding, num_family: int, equivalence: float) -> Power | None:
    """Return what the primary test of one contrast could find; None if it was not tested."""
    contrast = finding.contrast
    if finding.items is None or finding.seed is None or contrast.simultaneous is None:
        return None
    item, seed = float(finding.items.items.std()), finding.seed.std
    low, high = contrast.simultaneous
    error = float(np.hypot(item, seed))
    detectable = (high - low) / 2 + float(ndtri(POWER)) * error
    seeds = _seeds_needed(item, seed, finding.seed.degrees, contrast.num_seeds or 1, num_family, equivalence)
    items = _items_factor(item, seed, detectable / error, equivalence) if error > 0 else 1.0
    tasks = tasks_needed(finding.task_differences, num_family, equivalence)
    sentence = _sentence(detectable, equivalence, seeds, items, contrast.num_seeds or 1)
    found = _power(contrast, equivalence, detectable, tasks, sentence)
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


def _seeds_needed(item: float, seed: float, degrees: float, count: int, num_family: int, effect: float) -> int | None:
    for wanted in range(count, MOST_SEEDS + 1):
        error = np.hypot(item, seed * np.sqrt(count / wanted))
        left = degrees * (wanted - 1) / (count - 1)
        if (float(stdtrit(left, 1 - ALPHA / (2 * num_family))) + float(ndtri(POWER))) * error <= effect:
            return wanted
    return None


def _items_factor(item: float, seed: float, reach: float, effect: float) -> float | None:
    """By how much the items must grow until ``reach`` standard errors fit into the effect, the seeds as they are."""
    room = (effect / reach) ** 2 - seed**2
    return None if room <= 0 else max(1.0, item**2 / room)


def tasks_needed(differences: FloatArray, num_family: int, effect: float) -> int | None:
    """Return how many tasks like these the signed-rank test needs to find the effect; None from a single task."""
    floor = ceil(1 - log2(ALPHA / num_family))
    if len(differences) < 2:
        return None
    reach = float(ndtri(1 - ALPHA / (2 * num_family)) + ndtri(POWER)) * float(differences.std(ddof=1))
    return max(floor, ceil((reach / effect) ** 2 / SIGNED_RANK_EFFICIENCY))


def task_power(contrast: Contrast, differences: FloatArray, num_family: int, equivalence: float) -> Power:
    """Return what the signed-rank test over these tasks could find."""
    count, floor = len(differences), ceil(1 - log2(ALPHA / num_family))
    detectable = None
    if count >= floor and count > 1:
        error = float(differences.std(ddof=1)) / np.sqrt(count * SIGNED_RANK_EFFICIENCY)
        detectable = float(ndtri(1 - ALPHA / (2 * num_family)) + ndtri(POWER)) * error
    needed = tasks_needed(differences, num_family, equivalence)
    found = (
        f"{count} tasks can find a difference of {detectable:.4f} in 80 of 100 studies"
        if detectable is not None
        else f"{count} task(s) can find nothing at the level of this family, {floor} is the least"
    )
    more = f"; {equivalence:g} needs about {needed} tasks" if needed is not None and needed > count else ""
    return _power(contrast, equivalence, detectable, needed, found + more + ".")


def _sentence(detectable: float, effect: float, seeds: int | None, items: float | None, count: int) -> str:
    found = f"A difference of {detectable:.4f} would be found in 80 of 100 such studies"
    if detectable <= effect:
        return found + "."
    ways = [f"{seeds} seeds instead of {count}"] if seeds is not None else []
    ways += [f"{items:.1f} times the items"] if items is not None else []
    if not ways:
        return f"{found}; for {effect:g} both more seeds and more items are needed."
    return f"{found}; {effect:g} needs {' or '.join(ways)}."
