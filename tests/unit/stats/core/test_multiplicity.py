"""Corrections worked out by hand."""

import pytest

from poolwise.stats.core.multiplicity import benjamini_hochberg, benjamini_yekutieli, holm


def test_holm_by_hand() -> None:
    # 0.01 * 3, then 0.03 * 2, then 0.04 raised to the one before.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


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
