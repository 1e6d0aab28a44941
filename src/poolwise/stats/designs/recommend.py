"""Recommendations: which design to use for each category, by quality and cost, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.results import CategoryMean, Contrast, Recommendation, Verdict
from poolwise.stats.designs.entrants import Entrant, Field


def recommendations(field: Field, means: Sequence[CategoryMean], contrasts: Sequence[Contrast]) -> list[Recommendation]:
    """Return one recommendation for each category: the cheapest entrant that is practically equal to the best.

    If none was shown to be equal, this is the best itself, since an undecided difference may be a real one. The
    sentence then also names the cheapest entrant that was compared with the best and not shown to be worse than any.
    """
    costs = {entrant.name: trainable_parameters(entrant) for entrant in field.entrants}
    result = []
    for category in field.tasks:
        scores = {row.name: row.mean for row in means if row.category == category and row.name in costs}
        tests = [contrast for contrast in contrasts if contrast.category == category]
        result.append(_recommend(category, scores, costs, tests))
    return result


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
    category: str, scores: Mapping[str, float], costs: Mapping[str, float], tests: Sequence[Contrast]
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
        return "Use it; costs are unknown"
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
    place = category.replace("_", " ") if category != "sts" else "STS"
    if len(scores) == 1:
        return f"For {place}, only {best} was evaluated; there is nothing to compare."
    if len(left) == 1 and not untested:
        return f"For {place}, use {best}: it has the best mean ({scores[best]:.4f}); all others were shown to be worse."
    top = f"For {place}, {best} has the best mean ({scores[best]:.4f})"
    if equal:
        return f"{top}; {_listed(equal)} {'is' if len(equal) == 1 else 'are'} practically equal to it. {advice}."
    return f"{top}, but {_open_ends(best, left, untested)}. {advice}."


def _open_ends(best: str, left: Sequence[str], untested: Sequence[str]) -> str:
    """Return, in words, what is not shown to be worse than the best, and what was not compared with it."""
    tested = [name for name in left if name != best]
    parts = [f"is not shown to be better than {_listed(tested)}"] if tested else []
    if untested:
        parts.append(f"{_listed(untested)} {'was' if len(untested) == 1 else 'were'} not compared with it")
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
