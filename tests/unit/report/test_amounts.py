"""Numbers as text: signs, rounding, and what is missing."""

import pytest

from poolwise.report.amounts import (
    count_text,
    difference_text,
    gib_text,
    interval_text,
    p_text,
    score_text,
    seconds_text,
    short_count_text,
    spread_text,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0129, "+0.0129"), (-0.0035, "−0.0035"), (0.0, "0.0000"), (-0.00004, "0.0000"), (1, "+1.0000")],
)
def test_a_difference_has_a_sign_unless_it_rounds_to_zero(value: float, text: str) -> None:
    assert difference_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.250"), (0.0314, "0.031"), (0.0078125, "0.0078"), (0.00042, "0.0004"), (1e-7, "1e−07"), (1.0, "1")],
)
def test_p_keeps_a_digit_however_small(value: float, text: str) -> None:
    assert p_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(950.0, "950"), (12_345, "12.3 K"), (245e6, "245 M"), (999_900, "1 M"), (1.278e9, "1.28 B")]
)
def test_parameters_have_three_digits(value: float, text: str) -> None:
    assert short_count_text(value) == text


@pytest.mark.parametrize(("value", "text"), [(5.25, "5.2 s"), (150, "2.5 min"), (9000, "2.5 h")])
def test_times_change_unit(value: float, text: str) -> None:
    assert seconds_text(value) == text


def test_what_was_not_measured_is_a_dash_and_never_zero() -> None:
    forms = (score_text, p_text, count_text, short_count_text, seconds_text, gib_text)
    assert [form(None) for form in forms] == ["–"] * len(forms)
    assert interval_text(None) == "–"
    assert spread_text(None) == ""
    assert score_text(0.0) == "0.0000"
