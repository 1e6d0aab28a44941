"""The hierarchical view of a contrast beside its test: partial pooling over tasks, items and seeds; no verdict uses it.

The task differences are effects with variances from their items. The mean's standard error has two parts: what tasks
and items do, and the seed part of the test, which all tasks share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from poolwise.results import Hierarchy
from poolwise.stats.core.random_effects import random_effects
from poolwise.stats.core.resampling import FloatArray
from poolwise.stats.core.seed_spread import SeedNoise
from poolwise.stats.designs.across import task_scores
from poolwise.stats.designs.contrasts import Pair
from poolwise.stats.designs.entrants import Field

LEAST_TASKS = 3
"""The variance between tasks of two tasks has one degree of freedom, and a prediction from it none."""
LEAST_MODELS = 3
"""The standard deviation between two models is their difference, so every standardised difference would be equal."""


def hierarchy(
    category: str,
    pair: Pair,
    tasks: Sequence[str],
    differences: FloatArray,
    variances: Sequence[float],
    seed: SeedNoise,
) -> list[Hierarchy]:
    """Return the partial pooling of one contrast over its tasks; [] with fewer than three.

    Args:
        differences: ``a - b`` on each task. variances: of each difference, from its items.
        seed: the seed part of the mean difference.
    """
    count = len(tasks)
    if count < LEAST_TASKS:
        return []
    pooled = random_effects(differences, np.asarray(variances))
    error = float(np.hypot(pooled.error, seed.std))
    reach = float(stdtrit(_degrees(pooled.error, count - 1, seed), 0.975)) * error if error > 0 else 0.0
    further = float(stdtrit(count - 2, 0.975) * np.sqrt(pooled.between + error**2))
    return [
        Hierarchy(
            category=category,
            a=pair.a,
            b=pair.b,
            mean=pooled.mean,
            interval=(pooled.mean - reach, pooled.mean + reach),
            new_task=(pooled.mean - further, pooled.mean + further),
            between_std=float(np.sqrt(pooled.between)),
            tasks=list(tasks),
            differences=differences.tolist(),
            shrunken=pooled.shrunken.tolist(),
        )
    ]


def _degrees(error: float, degrees: int, seed: SeedNoise) -> float:
    """Satterthwaite's degrees of freedom of the sum of both parts of the variance."""
    parts = error**4 / degrees + seed.std**4 / seed.degrees
    return (error**2 + seed.std**2) ** 2 / parts


def model_spread(field: Field, tasks: Sequence[str]) -> FloatArray | None:
    """Return the standard deviation between the models (without baselines) on each task; None below three models."""
    having = [entrant for entrant in field.entrants if all(map(entrant.has, tasks))]
    if len(having) < LEAST_MODELS:
        return None
    return np.asarray(np.std([task_scores(entrant, tasks).mean(axis=0) for entrant in having], axis=0, ddof=1))


def standardised(differences: FloatArray, spread: FloatArray | None) -> float | None:
    """Return the mean over tasks of ``a - b`` in standard deviations between the models.

    A task on which all models are far apart then counts no more than others, and one on which all are equal as 0.
    None without a spread, or if all models are equal on every task.
    """
    if spread is None or not spread.any():
        return None
    return float(np.divide(differences, spread, out=np.zeros_like(spread), where=spread > 0).mean())
