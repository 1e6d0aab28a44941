"""The verdict rule, case by case."""

import pytest

from poolwise.results import Contrast, Verdict
from poolwise.stats.designs.verdict import OVERLAP, confirm, decide, rule


@pytest.mark.parametrize(
    ("interval", "verdict", "remark"),
    [
        (None, "not decided", ""),
        ((-0.02, 0.03), "not decided", ""),
        ((-0.004, 0.004), "equal", ""),
        ((0.001, 0.004), "equal", "too little to matter"),
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
    assert "at 99.5% (0.05 / 10)" in rule({"": 10}, {"sts": 0.005})
    assert "0.005" in rule({"": 10}, {"sts": 0.005})
    assert "0.01 for sts, 0.02 for retrieval" in rule({"": 1}, {"sts": 0.01, "retrieval": 0.02})
    assert "sts 97.5% (0.05 / 2); pair classification 99% (0.05 / 5)" in rule(
        {"sts": 2, "pair_classification": 5}, {"sts": 0.005}
    )


@pytest.mark.parametrize(
    ("verdict", "p_holm", "kept"),
    [
        ("better", 0.05, "better"),
        ("better", 0.051, "not decided"),
        ("worse", 0.2, "not decided"),
        ("worse", None, "not decided"),
        ("equal", 1.0, "equal"),
        ("not decided", 0.01, "not decided"),
    ],
)
def test_what_the_corrected_p_takes_back(verdict: Verdict, p_holm: float | None, kept: Verdict) -> None:
    fields = {"category": "sts", "a": "a", "b": "b", "difference": 0.1, "test": "t", "estimand": "designs_on_tasks"}
    contrast = Contrast(**fields, p_holm=p_holm, verdict=verdict, note=f"9 tasks; {OVERLAP}")  # type: ignore[arg-type]
    confirm([contrast])
    assert contrast.verdict == kept
    assert contrast.note == (f"9 tasks; {OVERLAP}" if kept == verdict else contrast.note)
    if kept != verdict:
        assert contrast.note.startswith("9 tasks; ") and OVERLAP not in contrast.note
        assert "the corrected p is above 0.05" in contrast.note
