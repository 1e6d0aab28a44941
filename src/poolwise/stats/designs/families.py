"""Corrects a family of tests together, then gives each of its contrasts a joint interval and a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from poolwise.results import Contrast, Power
from poolwise.stats.core.multiplicity import benjamini_hochberg, benjamini_yekutieli, num_attainable, tarone_holm
from poolwise.stats.designs.across import joint_intervals, task_differences
from poolwise.stats.designs.contrasts import Pair
from poolwise.stats.designs.entrants import Field
from poolwise.stats.designs.power import suite_detectable, suite_power, task_detectable, task_power
from poolwise.stats.designs.suite import Finding
from poolwise.stats.designs.verdict import ALPHA, ONE_SEED, confirm, decide, decide_over_tasks


@dataclass(frozen=True)
class Tested:
    """A contrast with what its joint interval is computed from: the noise of its items and seeds, or its tasks."""

    contrast: Contrast
    pair: Pair
    finding: Finding | None = None


def judge(
    field: Field, tests: Sequence[Tested], *, by_category: bool = False, share: float = 1.0
) -> tuple[dict[str, int], list[Power]]:
    """Fill in corrected p-values, joint intervals and verdicts, in place.

    Args:
        by_category: each category is a family of its own; otherwise all contrasts together are one.
        share: the part of 0.05 that these tests may use (``stats.core.spending``).
    Returns: among how many contrasts 0.05 is divided for the intervals, by family ("" if there is one), and the power
        of each test.
    """
    sizes: dict[str, int] = {}
    power: list[Power] = []
    for name, family in _families(tests, by_category):
        contrasts = [test.contrast for test in family]
        correct(contrasts, share)
        size = num_attainable([c.smallest_p or 0.0 for c in contrasts if c.p is not None], ALPHA * share)
        sizes[name] = size
        for test in family:
            power += _decide(field, test, size / share)
        confirm(contrasts)
    return sizes, power


def _families(tests: Sequence[Tested], by_category: bool) -> Iterator[tuple[str, list[Tested]]]:
    if not by_category:
        yield "", list(tests)
        return
    for category in dict.fromkeys(test.contrast.category for test in tests):
        yield category, [test for test in tests if test.contrast.category == category]


def correct(contrasts: Sequence[Contrast], share: float = 1.0) -> None:
    """Fill in the corrected p-values of one family, in place; contrasts without a p do not belong to it.

    A corrected p is divided by ``share`` too, so that 0.05 is its limit at every look of a sequential study.
    """
    tested = [contrast for contrast in contrasts if contrast.p is not None]
    p_values = [min(1.0, contrast.p / share) for contrast in tested if contrast.p is not None]
    smallest = [min(1.0, (contrast.smallest_p or 0.0) / share) for contrast in tested]
    floors = [min(pair) for pair in zip(smallest, p_values, strict=True)]
    adjusted = (tarone_holm(p_values, floors), benjamini_hochberg(p_values), benjamini_yekutieli(p_values))
    for contrast, p_holm, p_bh, p_by in zip(tested, *adjusted, strict=True):
        contrast.p_holm, contrast.p_bh, contrast.p_by = p_holm, p_bh, p_by


def _decide(field: Field, test: Tested, size: float) -> list[Power]:
    contrast, equivalence = test.contrast, test.contrast.equivalence or 0.0
    if test.finding is not None:
        found = _over_items(test.contrast, test.finding, size, equivalence)
    else:
        found = _over_tasks(field, test, size, equivalence)
    if any(field[name].design is not None and len(field[name].runs) == 1 for name in (contrast.a, contrast.b)):
        contrast.verdict = "not decided"
        contrast.note = "; ".join(part for part in (contrast.note, ONE_SEED) if part)
    return found


def _over_items(contrast: Contrast, finding: Finding, size: float, equivalence: float) -> list[Power]:
    if contrast.interval is None:
        contrast.verdict = "not decided"
        return []
    is_found = contrast.p_holm is not None and contrast.p_holm <= ALPHA
    contrast.simultaneous = finding.noise.interval(contrast.difference, 1 - ALPHA / size, is_found=is_found)
    detectable = suite_detectable(finding, contrast.simultaneous)
    contrast.verdict, note = decide(contrast.simultaneous, equivalence, detectable)
    contrast.note = "; ".join(part for part in (contrast.note, note) if part)
    return [suite_power(finding, contrast, detectable, size, equivalence)]


def _over_tasks(field: Field, test: Tested, size: float, equivalence: float) -> list[Power]:
    contrast, pair = test.contrast, test.pair
    differences = task_differences(field, pair, field.common(contrast.category, pair.a, pair.b))
    contrast.simultaneous, contrast.typical_simultaneous = joint_intervals(field, contrast, pair, size)
    detectable = task_detectable(differences, size)
    contrast.verdict, note = decide_over_tasks(
        contrast.difference, contrast.simultaneous, contrast.typical_simultaneous, equivalence, detectable
    )
    contrast.note = "; ".join(part for part in (contrast.note, note) if part)
    return [task_power(contrast, differences, detectable, size, equivalence)]
