"""Recommendations by hand."""

import pytest

from poolwise.results import Contrast, Recommendation
from poolwise.stats.designs.across import category_means
from poolwise.stats.designs.entrants import gather
from poolwise.stats.designs.recommend import pareto, recommendations
from unit.stats.designs.builders import run, scores

BEST, CHEAP, MIDDLE = "multilayer+causal", "last+causal", "latent+causal"


def contrast(a: str, b: str, verdict: str, difference: float = 0.1) -> Contrast:
    return Contrast(
        category="sts", a=a, b=b, difference=difference, test="t", estimand="tasks_like_these", verdict=verdict
    )


def recommend(*tests: Contrast) -> Recommendation:
    field = gather(
        [
            run(BEST, [scores("t", 0.9, category="sts")], parameters=300),
            run(CHEAP, [scores("t", 0.7, category="sts")], parameters=10),
            run(MIDDLE, [scores("t", 0.6, category="sts")], parameters=50),
        ]
    )
    (result,) = recommendations(field, category_means(field), tests)
    return result


def test_the_best_where_nothing_is_decided_and_the_cheapest_is_named() -> None:
    result = recommend(contrast(BEST, CHEAP, "not decided"))
    assert (result.best, result.recommended, result.decided) == (BEST, BEST, False)
    assert f"Use it; {CHEAP} (0.7000) is cheaper and not shown to be worse." in result.sentence
    assert f"is not shown to be better than {CHEAP};" in result.sentence
    assert f"{MIDDLE} was not compared" in result.sentence


def test_the_best_where_all_others_were_decided_worse() -> None:
    result = recommend(contrast(BEST, CHEAP, "better"), contrast(MIDDLE, BEST, "worse", -0.1))
    assert (result.recommended, result.decided) == (BEST, True)
    assert "all others were shown to be worse" in result.sentence


def test_what_was_not_compared_with_the_best_is_named_and_not_recommended() -> None:
    result = recommend(contrast(BEST, CHEAP, "better"))
    assert (result.recommended, result.decided) == (BEST, False)
    # MIDDLE is cheaper, but no test says how good it is.
    assert f"{MIDDLE} was not compared with it. Use it; no cheaper one was shown to be as good." in result.sentence


def test_what_was_decided_worse_than_any_other_is_out() -> None:
    tests = (
        contrast(MIDDLE, CHEAP, "worse"),
        contrast(BEST, CHEAP, "not decided"),
        contrast(BEST, MIDDLE, "not decided"),
    )
    result = recommend(*tests)
    assert f"{CHEAP} (0.7000) is cheaper" in result.sentence
    assert MIDDLE not in result.sentence
    beaten = recommend(contrast(CHEAP, BEST, "not decided"), contrast(MIDDLE, CHEAP, "better"))
    assert "is cheaper" not in beaten.sentence


def test_pareto_by_hand() -> None:
    means = {"a": 0.5, "b": 0.6, "c": 0.55, "d": 0.7}
    assert pareto(means, {"a": 1, "b": 2, "c": 3, "d": 3}) == ["a", "b", "d"]
    assert pareto(means, dict.fromkeys(means, float("inf"))) == ["d"]


def test_one_model() -> None:
    field = gather([run(BEST, [scores("t", 0.9)])])
    (result,) = recommendations(field, category_means(field), [])
    assert result.recommended == BEST
    assert "there is nothing to compare" in result.sentence


def test_equal_to_the_best_and_cheaper() -> None:
    result = recommend(contrast(BEST, CHEAP, "better"), contrast(MIDDLE, BEST, "equal"))
    assert (result.recommended, result.decided) == (MIDDLE, True)
    assert f"{MIDDLE} is practically equal to it. Use {MIDDLE}" in result.sentence
    # What is not decided against the best gives way to what was shown to equal it, cheaper or not.
    assert recommend(contrast(MIDDLE, BEST, "equal")).recommended == MIDDLE


def test_unknown_costs_are_said() -> None:
    field = gather([run("x", [scores("t", 0.7)], kind="external"), run("y", [scores("t", 0.9)], kind="external")])
    (result,) = recommendations(field, category_means(field), [contrast("y", "x", "not decided")])
    assert result.recommended == "y"
    assert "No cost is known, so none is called cheaper" in result.sentence


@pytest.mark.parametrize("decided", ["better", "not decided"])
def test_ties_in_cost_go_to_the_better(decided: str) -> None:
    field = gather([run(CHEAP, [scores("t", 0.7)], parameters=5), run(BEST, [scores("t", 0.9)], parameters=5)])
    (result,) = recommendations(field, category_means(field), [contrast(BEST, CHEAP, decided)])
    assert result.recommended == BEST
