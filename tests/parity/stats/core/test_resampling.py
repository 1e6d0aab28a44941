"""Permutation and bootstrap against scipy's, within their Monte Carlo error."""

import numpy as np
import pytest
from scipy import stats

from poolwise.stats.core.bootstrap import bootstrap_means, percentile_interval
from poolwise.stats.core.resampling import generator
from poolwise.stats.core.signflip import signflip_test


def test_exact_flips_equal_scipy() -> None:
    differences = np.random.default_rng(1).normal(0.4, 1, 12)
    expected = stats.permutation_test(
        (differences,),
        lambda d, axis: np.mean(d, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert signflip_test(differences).p == pytest.approx(expected.pvalue)


def test_random_flips_are_near_the_normal_limit() -> None:
    differences = np.random.default_rng(2).normal(0.1, 1, 500)
    z = differences.sum() / np.sqrt((differences**2).sum())
    # The standard error of a p near 0.05 from 10,000 draws is 0.002.
    assert signflip_test(differences).p == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.008)


def test_interval_is_near_scipys() -> None:
    values = np.random.default_rng(3).exponential(size=60)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    means = bootstrap_means(values[:, None], np.arange(60), 10_000, generator(0, "bootstrap"))
    assert percentile_interval(means[:, 0], 0.95) == pytest.approx((expected.low, expected.high), abs=0.02)
