"""The random-effects model of meta-analysis: partial pooling of effects that were measured with known variances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poolwise.stats.core.resampling import FloatArray


@dataclass(frozen=True)
class RandomEffects:
    """The pooled mean and its standard error, the variance between the effects, and each effect, shrunken."""

    mean: float
    error: float
    between: float
    shrunken: FloatArray


def random_effects(effects: FloatArray, variances: FloatArray) -> RandomEffects:
    """Return the partial pooling of at least two effects.

    Args:
        effects: one for each task. variances: of their sampling errors, in the same order, 0 or more. A 0 beside others
            is read as their mean: items that all agree do not prove a variance of 0.
    Source: Paule and Mandel (1982) for the variance between effects; Hartung and Knapp (2001) for the standard error,
        not below that of the weights alone (Roever, Knapp and Friede, 2015, "modified").
    """
    known = variances[variances > 0]
    variances = np.where(variances > 0, variances, known.mean() if len(known) else 0.0)
    between = _paule_mandel(effects, variances)
    total = variances + between
    if not total.all():
        # No variance at all: the effects are equal.
        return RandomEffects(float(effects.mean()), 0.0, 0.0, effects)
    weights = 1 / total
    mean = float(weights @ effects / weights.sum())
    spread = float(weights @ (effects - mean) ** 2) / (len(effects) - 1)
    error = float(np.sqrt(max(1.0, spread) / weights.sum()))
    return RandomEffects(mean, error, between, mean + between / total * (effects - mean))


def _paule_mandel(effects: FloatArray, variances: FloatArray) -> float:
    """Return the variance between effects at which their weighted squares are as large as expected; 0 or more."""

    def excess(between: float) -> float:
        weights = 1 / (variances + between)
        return float(weights @ (effects - weights @ effects / weights.sum()) ** 2) - (len(effects) - 1)

    low, high = 0.0, float(effects.var(ddof=1))
    if np.ptp(effects) == 0.0 or (variances.all() and excess(0.0) <= 0):
        return 0.0
    # At the variance of the effects themselves, the weighted squares are at most as large as expected.
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high
