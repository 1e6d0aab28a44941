"""The Bayesian signed-rank test: the probability that a typical task favours a, favours b, or neither."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from poolwise.stats.core.resampling import FloatArray

PRIOR_STRENGTH = 0.5
"""Weight of the prior: one pseudo-task with difference 0."""


def signed_rank_posterior(
    differences: ArrayLike, equivalence: float, rng: np.random.Generator, num_draws: int = 5_000
) -> tuple[float, float, float]:
    """Return the probabilities (a better, practically equal, b better); they sum to 1.

    Weights over the tasks are drawn from a Dirichlet process. In each draw, the region with the most weight on the
    sums of pairs of differences wins; ties are shared.

    Source: Benavoli, Corani, Demsar and Zaffalon (2017), Time for a change.
    """
    values = np.append(0.0, np.asarray(differences, dtype=np.float64))
    weights = rng.dirichlet([PRIOR_STRENGTH, *np.ones(len(values) - 1)], size=num_draws)
    sums = values[:, None] + values[None, :]
    regions = [sums > 2 * equivalence, np.abs(sums) <= 2 * equivalence, sums < -2 * equivalence]
    mass: FloatArray = np.column_stack([((weights @ region) * weights).sum(axis=1) for region in regions])
    wins = mass >= mass.max(axis=1, keepdims=True) - 1e-12
    shares = (wins / wins.sum(axis=1, keepdims=True)).mean(axis=0)
    return float(shares[0]), float(shares[1]), float(shares[2])
