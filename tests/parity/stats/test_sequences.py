"""The confidence sequence against two independent packages: ville and gbstats."""

from __future__ import annotations

import numpy as np
import pytest

from poolwise.stats.core.confidence_sequence import half_widths, log_e_values, tuned_prior
from poolwise.stats.core.user_means import difference, user_sums

ALPHA = 0.05


def test_the_sequence_of_a_mean_is_that_of_ville() -> None:
    ville = pytest.importorskip("ville", reason="ville is not installed: pip install ville")
    from ville._boundaries import best_rho

    x = np.random.default_rng(0).exponential(2.0, 3000)
    found = ville.AsymptoticCS(alpha=ALPHA, t_opt=800, min_samples=50).fit(x)
    t = np.arange(1, len(x) + 1)
    variance = np.array([x[:n].var(ddof=1) if n > 1 else np.nan for n in t])
    # Their clock is the number of values, ours the information: of one variance they are the same.
    ours = np.sqrt(variance) * half_widths(t.astype(float), best_rho(800, ALPHA), ALPHA)
    theirs = (found.upper_ - found.lower_) / 2
    assert np.allclose(ours[49:], theirs[49:], rtol=1e-10)
    margin = float(half_widths(np.array(800.0), best_rho(800, ALPHA), ALPHA))
    assert tuned_prior(margin, ALPHA) == pytest.approx(best_rho(800, ALPHA), rel=1e-4)


@pytest.mark.parametrize("tuning", [500, 5000])
def test_the_sequence_of_a_difference_is_that_of_gbstats(tuning: float) -> None:
    tests = pytest.importorskip(
        "gbstats.frequentist.tests", reason="gbstats has no sequential interval before 0.5: pip install gbstats==0.8.0"
    )
    from gbstats.models.statistics import SampleMeanStatistic

    rng = np.random.default_rng(1)
    arms = [rng.lognormal(0, 1, 900), rng.lognormal(0.1, 1, 1000)]
    stats = [SampleMeanStatistic(n=len(x), sum=x.sum(), sum_squares=(x**2).sum()) for x in arms]
    config = tests.SequentialConfig(difference_type="absolute", alpha=ALPHA, sequential_tuning_parameter=tuning)
    theirs = tests.SequentialTwoSidedTTest(stats[0], stats[1], config)
    sums = [user_sums(x, np.ones_like(x), np.zeros_like(x)).sum(axis=0) for x in arms]
    found = difference(*sums)
    # They count users, and an information of users over the variance of one is ours.
    scale = 1 / (float(found.variance) * 1900)
    prior = scale / theirs.rho**2
    width = float(half_widths(1 / found.variance, prior, ALPHA))
    estimate = float(found.estimate)
    assert [estimate - width, estimate + width] == pytest.approx(theirs.confidence_interval, rel=1e-9)
    e_value = np.exp(float(log_e_values(found.estimate, 1 / found.variance, prior)))
    assert min(1.0, 1 / e_value) == pytest.approx(theirs.p_value, rel=1e-9)
