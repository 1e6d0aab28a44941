"""A test of the split between arms that is valid at every look."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

CONCENTRATION = 1000.0
"""Of the prior over other splits around the planned one: it suits deviations of one or two percentage points."""


def log_split_e_value(counts: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the e-value against "users fall into the arms with these probabilities".

    Law: under the planned split it reaches log(1 / alpha) at any look with probability alpha at most.
    Source: Lindon and Malek, "Anytime-valid inference for multinomial count data", arXiv:2011.03567: a Dirichlet
    mixture of multinomials against the planned multinomial.

    Args:
        counts: users in each arm (... K). shares: the planned probabilities (K), which sum to 1.
    """
    prior = CONCENTRATION * shares
    total = counts.sum(axis=-1)
    mixed = gammaln(CONCENTRATION) - gammaln(total + CONCENTRATION)
    mixed = mixed + (gammaln(counts + prior) - gammaln(prior)).sum(axis=-1)
    return np.asarray(mixed - counts @ np.log(shares))
