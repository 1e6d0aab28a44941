"""Partial pooling in cases that can be worked out by hand."""

import numpy as np
import pytest

from poolwise.stats.core.random_effects import random_effects


def test_equal_variances_give_the_plain_mean_and_their_excess_as_variance_between() -> None:
    found = random_effects(np.array([0.0, 0.3, 0.6]), np.full(3, 0.01))
    # The effects' variance is .09, of which .01 is noise; each is drawn a ninth of the way to the mean.
    assert found.mean == pytest.approx(0.3) and found.between == pytest.approx(0.08)
    assert found.error == pytest.approx(np.sqrt(0.09 / 3))
    assert found.shrunken == pytest.approx([0.3 - 0.3 * 8 / 9, 0.3, 0.3 + 0.3 * 8 / 9])


def test_effects_that_agree_beyond_their_noise_are_all_the_mean() -> None:
    found = random_effects(np.array([0.10, 0.11, 0.12]), np.array([0.01, 0.01, 0.02]))
    assert found.between == 0.0
    assert found.mean == pytest.approx((0.10 + 0.11 + 0.06) / 2.5)
    assert found.shrunken == pytest.approx([found.mean] * 3)
    # Not below the error of the weights, although the effects vary less.
    assert found.error == pytest.approx((1 / 250) ** 0.5)


def test_a_noisy_task_counts_less_and_is_shrunken_most() -> None:
    effects, variances = np.array([0.01, 0.03, 0.02, 0.9]), np.array([0.0001, 0.0001, 0.0001, 0.5])
    found = random_effects(effects, variances)
    assert found.mean < 0.05 < effects.mean()
    assert abs(found.shrunken[3] - found.mean) < 0.01


def test_items_that_all_agree_do_not_prove_certainty() -> None:
    with_zero = random_effects(np.array([0.0, 0.1, 0.2]), np.array([0.0, 0.01, 0.03]))
    as_mean = random_effects(np.array([0.0, 0.1, 0.2]), np.array([0.02, 0.01, 0.03]))
    assert with_zero.mean == as_mean.mean and with_zero.error == as_mean.error


def test_no_variance_at_all() -> None:
    equal = random_effects(np.full(3, 0.2), np.zeros(3))
    assert equal.mean == pytest.approx(0.2) and equal.error == equal.between == 0.0
    unequal = random_effects(np.array([0.1, 0.2, 0.3]), np.zeros(3))
    assert unequal.mean == pytest.approx(0.2) and unequal.between == pytest.approx(0.01)
    assert unequal.shrunken == pytest.approx([0.1, 0.2, 0.3])
