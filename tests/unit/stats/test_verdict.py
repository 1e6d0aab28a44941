"""The verdict rule, case by case."""

import pytest

from poolwise.stats.verdict import decide, rule


@pytest.mark.parametrize(
    ("interval", "verdict", "remark"),
    [
        (None, "not decided", ""),
        ((-0.02, 0.03), "not decided", ""),
        ((-0.004, 0.004), "equal", ""),
        ((0.001, 0.004), "equal", "less than matters"),
        ((-0.005, 0.005), "equal", ""),
        ((0.001, 0.02), "better", "too small to matter"),
        ((0.006, 0.02), "better", ""),
        ((-0.02, -0.001), "worse", "too small to matter"),
        ((-0.02, -0.006), "worse", ""),
        ((0.0, 0.02), "not decided", ""),
    ],
)
def test_every_case(interval: tuple[float, float] | None, verdict: str, remark: str) -> None:
    decided, said = decide(interval, 0.005)
    assert decided == verdict
    assert remark in said
    assert bool(said) == bool(remark)


def test_the_rule_names_its_numbers() -> None:
    assert "99.5%" in rule(10, {"sts": 0.005})
    assert "0.005" in rule(10, {"sts": 0.005})
    assert "0.01 for sts, 0.02 for retrieval" in rule(1, {"sts": 0.01, "retrieval": 0.02})
