"""What to use for each category, on quality against cost, in one plain sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.records import CategoryMean, Contrast, Recommendation
from poolwise.stats.entrants import Entrant, Field


def recommendations(field: Field, means: Sequence[CategoryMean], contrasts: Sequence[Contrast]) -> list[Recommendation]:
    """Return one recommendation a category: the cheapest entrant that is not decided worse than the best."""
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
    worse = {name for name in scores if name != best and decided_worse(name, best, tests)}
    left = [name for name in scores if name not in worse]
    recommended = min(left, key=lambda name: (costs[name], -scores[name]))
    decided = left == [best]
    return Recommendation(
        category=category,
        best=best,
        recommended=recommended,
        sentence=_sentence(category, scores, best, recommended, left, tests),
        decided=decided,
        pareto=pareto(scores, costs),
    )


def decided_worse(name: str, best: str, tests: Sequence[Contrast]) -> bool:
    """Return whether a test of this very pair decided that ``name`` is worse than ``best``."""
    return any(
        (test.verdict == "worse" and (test.a, test.b) == (name, best))
        or (test.verdict == "better" and (test.a, test.b) == (best, name))
        for test in tests
    )


def _sentence(
    category: str,
    scores: Mapping[str, float],
    best: str,
    recommended: str,
    left: Sequence[str],
    tests: Sequence[Contrast],
) -> str:
    place = category.replace("_", " ")
    if len(scores) == 1:
        return f"For {place} only {best} was evaluated, so nothing is compared."
    if len(left) == 1:
        return f"For {place} use {best}: it has the best mean ({scores[best]:.4f}) and every other was decided worse."
    open_ends = [name for name in left if name != best]
    tested = {name for test in tests for name in (test.a, test.b) if best in (test.a, test.b)}
    untested = [name for name in open_ends if name not in tested]
    gap = f"{best} has the best mean ({scores[best]:.4f})"
    why = f"the difference to {_listed(open_ends)} is not decided"
    if untested:
        why += f" ({_listed(untested)} was not compared with it)"
    if recommended == best:
        return f"For {place} {gap}, but {why}; it is also the cheapest of these, so use it."
    return f"For {place} {gap}, but {why}; use {recommended} ({scores[recommended]:.4f}), the cheapest of these."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
