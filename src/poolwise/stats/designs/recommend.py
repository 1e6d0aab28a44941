"""Recommendations: which design to use for each category, by quality and cost, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.results import CategoryMean, Contrast, Recommendation, Verdict
from poolwise.stats.designs.across import OVERALL
from poolwise.stats.designs.entrants import Entrant, Field
from poolwise.wording import listed


def recommendations(
    field: Field,
    means: Sequence[CategoryMean],
    contrasts: Sequence[Contrast],
    against_baselines: Sequence[Contrast] = (),
) -> list[Recommendation]:
    """Return one recommendation for each category, and one for the mean over categories if it was tested.

    It is the cheapest entrant that is practically equal to the best. If none was shown to be equal, it is the best
    itself, since an undecided difference may be a real one. The sentence then also names the cheapest entrant that was
    compared with the best and not shown to be worse than any. A warning names the baselines that it is not above.
    """
    costs = {entrant.name: trainable_parameters(entrant) for entrant in field.entrants}
    result = []
    for category in dict.fromkeys([*field.tasks, *(row.category for row in means)]):
        rows = [row for row in means if row.category == category]
        scores = {row.name: row.mean for row in rows if row.name in costs}
        tests = [contrast for contrast in contrasts if contrast.category == category]
        if len({row.num_tasks for row in rows if row.name in costs}) > 1:
            result.append(_incomparable(category, scores))
            continue
        against = [test for test in against_baselines if test.category == category]
        found = _recommend(category, scores, costs, tests, against)
        if category == OVERALL and not tests and len(scores) > 1:
            found = found.model_copy(update={"sentence": _untested(found.best, scores), "recommended": found.best})
        shown = dict.fromkeys([found.recommended, found.best, *(anchor.name for anchor in field.anchors)])
        known = {row.name: row.mean for row in rows}
        result.append(
            found.model_copy(
                update={
                    "scores": {name: known[name] for name in shown if name in known},
                    "above": [test.b for test in against if test.a == found.recommended and test.verdict == "better"],
                }
            )
        )
    return result


def _warning(name: str, baselines: Sequence[Contrast]) -> str:
    """Return, in words, which baselines a design is not above; empty if it was shown to be above all."""
    below = [test.b for test in baselines if test.difference < 0]
    open_ends = [test.b for test in baselines if test.difference >= 0 and test.verdict != "better"]
    if below:
        decided = [test.b for test in baselines if test.verdict == "worse"]
        sure = "" if set(below) == set(decided) else " in the mean" if not decided else ""
        return (
            f"{name} is below {listed(below)}{sure}: do not deploy it. Train longer, or on more data, or use "
            f"{below[0] if len(below) == 1 else 'the best of these'}."
        )
    if open_ends:
        return f"{name} is not shown to be better than {listed(open_ends)}: training has not been shown to pay."
    return ""


def _untested(best: str, scores: Mapping[str, float]) -> str:
    return (
        f"Over all categories together, {best} has the best mean ({scores[best]:.4f}). That mean was not tested: for "
        "that, every category needs items."
    )


def _incomparable(category: str, scores: Mapping[str, float]) -> Recommendation:
    """A category without a task that all have: means over different tasks say nothing about each other."""
    best = max(scores, key=lambda name: scores[name])
    return Recommendation(
        category=category,
        best=best,
        recommended=best,
        sentence=f"For {_place(category)}, the models have no task in common, so their means cannot be compared: see "
        "the pairs.",
        decided=False,
    )


def _place(category: str) -> str:
    if category == OVERALL:
        return "all categories together"
    return category.replace("_", " ") if category != "sts" else "STS"


def trainable_parameters(entrant: Entrant) -> float:
    """Return the entrant's cost: its number of trained parameters; infinite if unknown.

    Seconds would be another cost, but they vary from run to run, and a recommendation must not.
    """
    known = [run.manifest.trainable_parameters for run in entrant.runs]
    return max((float(count) for count in known if count is not None), default=float("inf"))


def pareto(scores: Mapping[str, float], costs: Mapping[str, float]) -> list[str]:
    """Return the Pareto set, cheapest first: the names that no other beats in score at the same or a lower cost.

    Law: the best score is always in it.
    """
    kept: list[str] = []
    for name in sorted(scores, key=lambda n: (costs[n], -scores[n])):
        if not kept or scores[name] > scores[kept[-1]]:
            kept.append(name)
    return kept


def _recommend(
    category: str,
    scores: Mapping[str, float],
    costs: Mapping[str, float],
    tests: Sequence[Contrast],
    against_baselines: Sequence[Contrast],
) -> Recommendation:
    best = max(scores, key=lambda name: scores[name])
    equal = [name for name in scores if _verdict(name, best, tests) == "equal"]
    kept = [name for name in scores if name == best or not _is_beaten(name, tests)]
    # A design that was not tested against the best is listed but not recommended.
    untested = [name for name in kept if name != best and _verdict(name, best, tests) is None]
    left = [name for name in kept if name not in untested]
    recommended, cheapest = (
        min(pool, key=lambda name: (costs[name], -scores[name])) for pool in ([best, *equal], left)
    )
    warning = _warning(recommended, [test for test in against_baselines if test.a == recommended])
    # What is not above its baselines is not advised, only named as the best of those compared.
    advice = "" if warning else _advice(scores, costs, best, recommended, cheapest)
    return Recommendation(
        category=category,
        best=best,
        recommended=recommended,
        warning=warning,
        sentence=_sentence(category, scores, best, equal, left, untested, advice),
        decided=len(scores) > 1 and not untested and (bool(equal) or left == [best]),
        pareto=pareto(scores, costs),
    )


def _is_beaten(name: str, tests: Sequence[Contrast]) -> bool:
    """Return whether any test decided that ``name`` is worse than another entrant, not only the best."""
    return any(
        (test.a == name and test.verdict == "worse") or (test.b == name and test.verdict == "better") for test in tests
    )


def _verdict(name: str, best: str, tests: Sequence[Contrast]) -> Verdict | None:
    """Return the verdict on ``name`` against ``best`` from a direct test of the two; None if there is none."""
    turned: dict[Verdict | None, Verdict] = {"better": "worse", "worse": "better"}
    for test in tests:
        if (test.a, test.b) == (name, best):
            return test.verdict
        if (test.b, test.a) == (name, best):
            return turned.get(test.verdict, test.verdict)
    return None


def _advice(scores: Mapping[str, float], costs: Mapping[str, float], best: str, recommended: str, cheapest: str) -> str:
    if recommended != best:
        return f"Use {recommended} ({scores[recommended]:.4f}), the cheapest of these"
    if costs[best] == float("inf"):
        return "No cost is known, so none is called cheaper"
    if costs[cheapest] < costs[best]:
        return f"Use it; {cheapest} ({scores[cheapest]:.4f}) is cheaper and not shown to be worse"
    return "Use it; no cheaper one was shown to be as good"


def _sentence(
    category: str,
    scores: Mapping[str, float],
    best: str,
    equal: Sequence[str],
    left: Sequence[str],
    untested: Sequence[str],
    advice: str,
) -> str:
    place = _place(category)
    if len(scores) == 1:
        return f"For {place}, only {best} was evaluated; there is nothing to compare."
    if len(left) == 1 and not untested:
        if not advice:
            return f"For {place}, {best} has the best mean ({scores[best]:.4f}); all others were shown to be worse."
        return f"For {place}, use {best}: it has the best mean ({scores[best]:.4f}); all others were shown to be worse."
    advice = f" {advice}." if advice else ""
    top = f"For {place}, {best} has the best mean ({scores[best]:.4f})"
    if equal:
        return f"{top}; {listed(equal)} {'is' if len(equal) == 1 else 'are'} practically equal to it.{advice}"
    return f"{top}, but {_open_ends(best, left, untested)}.{advice}"


def _open_ends(best: str, left: Sequence[str], untested: Sequence[str]) -> str:
    """Return, in words, what is not shown to be worse than the best, and what was not compared with it."""
    tested = [name for name in left if name != best]
    parts = [f"is not shown to be better than {listed(tested)}"] if tested else []
    if untested:
        parts.append(f"{listed(untested)} {'was' if len(untested) == 1 else 'were'} not compared with it")
    return "; ".join(parts)
