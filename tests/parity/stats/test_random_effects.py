"""The random-effects model against statsmodels, an independent implementation."""

import numpy as np
import pytest
from statsmodels.stats.meta_analysis import combine_effects

from poolwise.stats.core.random_effects import random_effects


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("between", [0.02, 0.1])
def test_pooled_mean_and_variances_equal_statsmodels(seed: int, between: float) -> None:
    rng = np.random.default_rng(seed)
    variances = rng.uniform(0.0001, 0.002, 9)
    effects = 0.05 + rng.normal(0, between, 9) + rng.normal(0, np.sqrt(variances))
    theirs = combine_effects(effects, variances, method_re="iterated", use_t=True)
    ours = random_effects(effects, variances)
    assert ours.between == pytest.approx(theirs.tau2, rel=1e-4, abs=1e-9)
    assert ours.mean == pytest.approx(theirs.mean_effect_re, abs=1e-6)
    if theirs.tau2 > 0:  # else our error is not below that of the weights
        assert ours.error == pytest.approx(theirs.sd_eff_w_re_hksj, rel=1e-4)
