"""Corrections worked out by hand."""

import pytest

from poolwise.stats.core.multiplicity import benjamini_hochberg, benjamini_yekutieli, num_attainable, tarone_holm


def holm(p_values: list[float]) -> list[float]:
    return tarone_holm(p_values, [0.0] * len(p_values))


def test_without_floors_it_is_holm_by_hand() -> None:
    # 0.01 * 3, then 0.03 * 2, then 0.04 raised to the one before.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


def test_tests_that_cannot_reject_cost_nothing() -> None:
    # Four tests of three tasks can give 0.25 at best, so the two others are a family of two.
    p_values, smallest = [0.25, 0.01, 0.25, 0.5, 0.03, 1.0], [0.25, 0.001, 0.25, 0.25, 0.001, 0.25]
    adjusted = tarone_holm(p_values, smallest)
    # At 0.25 all six count, less the two that were rejected before.
    assert adjusted == pytest.approx([1.0, 0.02, 1.0, 1.0, 0.03, 1.0])
    assert num_attainable(smallest, 0.05) == 2


def test_without_floors_all_tests_count() -> None:
    assert num_attainable([0.0] * 4, 0.05) == 4
    assert num_attainable([], 0.05) == num_attainable([0.3], 0.05) == 1


def test_the_size_of_a_family_is_the_smallest_that_fits() -> None:
    # 0.05 / 2 = 0.025 excludes the test at 0.03; 0.05 / 1 would let three in.
    assert num_attainable([0.02, 0.03, 0.001], 0.05) == 2


def test_benjamini_hochberg_by_hand() -> None:
    # 0.01 * 3, 0.03 * 3 / 2 lowered to the next, 0.04.
    assert benjamini_hochberg([0.04, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])


def test_benjamini_yekutieli_is_the_harmonic_sum_more() -> None:
    assert benjamini_yekutieli([0.01, 0.02]) == pytest.approx([0.02 * 1.5, 0.02 * 1.5])


def test_nothing_and_one() -> None:
    assert holm([]) == []
    assert holm([0.2]) == benjamini_hochberg([0.2]) == [0.2]


def test_clipped_to_one() -> None:
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize("p", [0.0, 1.1, float("nan")])
def test_what_is_no_p_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="must be in"):
        holm([0.5, p])
