"""Differences within single tasks, shown where no test over tasks or designs can decide."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.report.amounts import p_text
from poolwise.report.view import ALPHA, View, category_title
from poolwise.results import Comparison, Contrast
from poolwise.wording import listed


def undecidable(view: View) -> list[str]:
    """Return the categories without a verdict in which one task, one seed or too few tasks leave no test to decide."""
    return [category for category in view.categories if _why(view.contrasts(category), view)]


def num_hopeless(comparison: Comparison) -> int:
    """Return how many contrasts could not have reached a corrected p below 0.05 with any scores.

    Each test is given its smallest possible p, and the family is corrected as the records say.
    """
    from poolwise.stats.core.multiplicity import tarone_holm

    families: dict[str, list[float]] = {}
    for contrast in comparison.contrasts:
        if contrast.p is not None and contrast.smallest_p is not None:
            floor = min(1.0, contrast.smallest_p / comparison.share)
            families.setdefault(contrast.category if comparison.by_category else "", []).append(floor)
    return sum(p >= ALPHA for floors in families.values() for p in tarone_holm(floors, floors))


def undecidable_sentences(view: View) -> list[str]:
    """Return for each reason one sentence that names the categories in which no test can decide."""
    reasons: dict[str, list[str]] = {}
    for category in undecidable(view):
        reasons.setdefault(_why(view.contrasts(category), view), []).append(category_title(category))
    return [f"No test can decide in {listed(titles)}: {reason}." for reason, titles in reasons.items()]


def within_contrasts(view: View) -> list[Contrast]:
    """Return the contrasts within the tasks of those categories, the smallest p first; they have a p."""
    where = undecidable(view)
    found = [c for c in view.comparison.task_contrasts if c.category in where and c.p is not None]
    return sorted(found, key=lambda c: (c.p_holm or 1.0, c.p or 1.0, -abs(c.difference)))


def _why(contrasts: Sequence[Contrast], view: View) -> str:
    """Why no contrast of a category can be decided; empty where one can or where it has a verdict."""
    if not contrasts or any(c.verdict in ("better", "worse", "equal") for c in contrasts):
        return ""
    floor = min(1.0 if c.p is None else c.smallest_p or 0.0 for c in contrasts)
    if floor >= ALPHA:
        num_tasks = max((c.num_tasks or 0 for c in contrasts), default=0)
        return f"with {_count(num_tasks, 'task')} the smallest possible p is {p_text(floor)}"
    if all("one seed" in c.note for c in contrasts):
        return "with one seed the variation between training runs is unknown"
    tested = [c for c in view.comparison.contrasts if c.p is not None]
    if tested and num_hopeless(view.comparison) == len(tested):
        return f"among {_count(len(tested), 'test')} the smallest possible p, {p_text(floor)}, is not small enough"
    return ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
