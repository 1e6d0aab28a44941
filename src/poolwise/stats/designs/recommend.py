"""What to use for each category, on quality against cost, in one plain sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.results import CategoryMean, Contrast, Recommendation, Verdict
from poolwise.stats.designs.entrants import Entrant, Field


def recommendations(field: Field, means: Sequence[CategoryMean], contrasts: Sequence[Contrast]) -> list[Recommendation]:
    """Return one recommendation a category: the cheapest entrant that practically equals the best.

    Where none was shown to equal it, the best itself: that a difference is not decided is no reason to give it away.
    The sentence then names the cheapest that was compared with the best and not decided worse than it or any other.
    """
    costs = {entrant.name: trainable_parameters(entrant) for entrant in field.entrants}
    result = []
    for category in field.tasks:
        scores = {row.name: row.mean for row in means if row.category == category and row.name in costs}
        tests = [contrast for contrast in contrasts if contrast.category == category]
        result.append(_recommend(category, scores, costs, tests))
    return result


def trainable_parameters(entrant: Entrant) -> float:
    """Return the entrant's cost: the parameters it trains, infinite where that is unknown.

    Seconds would be another cost, but they differ from run to run and a recommendation must not.
    """
    known = [run.manifest.trainable_parameters for run in entrant.runs]
    return max((float(count) for count in known if count is not None), default=float("inf"))


def pareto(scores: Mapping[str, float], costs: Mapping[str, float]) -> list[str]:
    """Return the names that no other beats in score without costing more, cheapest first.

    Law: the best score is always among them.
    """
    kept: list[str] = []
    for name in sorted(scores, key=lambda n: (costs[n], -scores[n])):
        if not kept or scores[name] > scores[kept[-1]]:
            kept.append(name)
    return kept


def _recommend(
    category: str, scores: Mapping[str, float], costs: Mapping[str, float], tests: Sequence[Contrast]
) -> Recommendation:
    best = max(scores, key=lambda name: scores[name])
    equal = [name for name in scores if _verdict(name, best, tests) == "equal"]
    kept = [name for name in scores if name == best or not _is_beaten(name, tests)]
    # A design that no test set against the best is named, but nothing speaks for preferring it.
    untested = [name for name in kept if name != best and _verdict(name, best, tests) is None]
    left = [name for name in kept if name not in untested]
    recommended, cheapest = (
        min(pool, key=lambda name: (costs[name], -scores[name])) for pool in ([best, *equal], left)
    )
    return Recommendation(
        category=category,
        best=best,
        recommended=recommended,
        sentence=_sentence(
            category, scores, best, equal, left, untested, _advice(scores, costs, best, recommended, cheapest)
        ),
        decided=not untested and (bool(equal) or left == [best]),
        pareto=pareto(scores, costs),
    )


def _is_beaten(name: str, tests: Sequence[Contrast]) -> bool:
    """Whether any test decided that ``name`` is worse than another, the best or not."""
    return any(
        (test.a == name and test.verdict == "worse") or (test.b == name and test.verdict == "better") for test in tests
    )


def _verdict(name: str, best: str, tests: Sequence[Contrast]) -> Verdict | None:
    """The verdict on ``name`` against ``best`` from a test of this very pair; None where there is none."""
    turned: dict[Verdict | None, Verdict] = {"better": "worse", "worse": "better"}
    for test in tests:
        if (test.a, test.b) == (name, best):
            return test.verdict
        if (test.b, test.a) == (name, best):
            return turned.get(test.verdict, test.verdict)
    return None


def _advice(scores: Mapping[str, float], costs: Mapping[str, float], best: str, recommended: str, cheapest: str) -> str:
    if recommended != best:
        return f"use {recommended} ({scores[recommended]:.4f}), the cheapest of these"
    if costs[best] == float("inf"):
        return "costs are unknown, so use it"
    if costs[cheapest] < costs[best]:
        return f"use it, or to save, {cheapest} ({scores[cheapest]:.4f}), the cheapest of these"
    return "none of these is cheaper, so use it"


def _sentence(
    category: str,
    scores: Mapping[str, float],
    best: str,
    equal: Sequence[str],
    left: Sequence[str],
    untested: Sequence[str],
    advice: str,
) -> str:
    place = category.replace("_", " ") if category != "sts" else "STS"
    if len(scores) == 1:
        return f"For {place} only {best} was evaluated, so nothing is compared."
    if len(left) == 1 and not untested:
        return f"For {place} use {best}: it has the best mean ({scores[best]:.4f}) and every other was decided worse."
    top = f"For {place} {best} has the best mean ({scores[best]:.4f})"
    if equal:
        return f"{top}, and {_listed(equal)} practically equal{'s' * (len(equal) == 1)} it; {advice}."
    return f"{top}, but {_open_ends(best, left, untested)}; {advice}."


def _open_ends(best: str, left: Sequence[str], untested: Sequence[str]) -> str:
    """What is not decided against the best, and what was never compared with it."""
    tested = [name for name in left if name != best]
    parts = [f"the difference to {_listed(tested)} is not decided"] if tested else []
    if untested:
        parts.append(f"{_listed(untested)} {'was' if len(untested) == 1 else 'were'} not compared with it")
    return " and ".join(parts)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
