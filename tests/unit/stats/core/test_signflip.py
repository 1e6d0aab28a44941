"""Sign flips worked out by hand."""

import numpy as np
import pytest

from poolwise.stats.core.signflip import noise_tests, signflip_test, tail_bound


def test_three_items_enumerated() -> None:
    # Sums of +-1 +-2 +-3: |6| twice in eight.
    test = signflip_test([1.0, 2.0, 3.0])
    assert (test.p, test.smallest_p, test.is_exact) == (0.25, 0.25, True)


def test_balanced_differences_give_one() -> None:
    assert signflip_test([1.0, -1.0, 2.0, -2.0]).p == 1.0


def test_identical_models_give_one() -> None:
    assert signflip_test(np.zeros(500)).p == 1.0


def test_one_item_gives_one() -> None:
    assert signflip_test([0.7]).p == 1.0


def test_few_differences_among_many_items_are_enumerated() -> None:
    test = signflip_test([0.0] * 995 + [1.0] * 5)
    assert (test.p, test.is_exact) == (2 / 32, True)


def test_groups_flip_whole() -> None:
    # Two groups: only four sign patterns, so six agreeing items prove nothing.
    test = signflip_test([1.0] * 6, ["x"] * 3 + ["y"] * 3)
    assert (test.p, test.smallest_p) == (0.5, 0.5)


def test_monte_carlo_p_is_never_zero() -> None:
    test = signflip_test(np.ones(100), num_resamples=199)
    assert (test.p, test.smallest_p, test.is_exact) == (1 / 200, 1 / 200, False)


def test_ties_of_sums_survive_float_noise() -> None:
    # The total is -5.6e-17 instead of 0, so every pattern reaches it; rounding alone says that some do not.
    assert sum([0.3, -0.1, -0.2, 0.3, -0.1, -0.2]) != 0
    assert signflip_test([0.3, -0.1, -0.2]).p == 1.0
    assert signflip_test([0.3, -0.1, -0.2, 0.3, -0.1, -0.2]).p == 1.0


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        signflip_test([float("nan"), 1.0])


def test_a_total_beyond_all_flips_is_as_rare_as_the_outermost() -> None:
    sums = np.array([[1.0], [1.0]])
    flipped = np.array([[2.0], [0.0], [0.0], [-2.0]])
    (test,) = noise_tests(np.array([5.0]), sums, flipped)
    # Two units have four flips, two of them outermost, whatever was drawn.
    assert (test.p, test.smallest_p, test.is_exact) == (0.5, 0.5, True)
    (none,) = noise_tests(np.array([0.0]), sums, flipped)
    assert none.p == 1.0


def test_hoeffdings_bound_by_hand() -> None:
    # Four ones: 2 exp(-16 / 8); a total of 2 instead: 2 exp(-4 / 8) is above 1.
    assert tail_bound(np.ones(4)) == pytest.approx(2 * np.exp(-2))
    assert tail_bound(np.ones(4), 2.0) == 1.0
    assert tail_bound(np.zeros(4)) == 1.0
