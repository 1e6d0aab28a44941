"""Collects the tests of all pairs, category by category, before anything is corrected or decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from poolwise.errors import EvalError
from poolwise.results import Contrast, Hierarchy, Posterior, RankPicture, VarianceShare
from poolwise.stats.core.bayes import signed_rank_posterior
from poolwise.stats.core.resampling import FloatArray, generator
from poolwise.stats.core.seed_spread import SeedTable
from poolwise.stats.designs.across import (
    across_contrast,
    difference_of,
    overall_difference,
    overall_scores,
    task_differences,
    task_scores,
)
from poolwise.stats.designs.contrasts import Pair
from poolwise.stats.designs.entrants import Field
from poolwise.stats.designs.families import Tested
from poolwise.stats.designs.friedman import rank_picture
from poolwise.stats.designs.hierarchy import hierarchy, model_spread, standardised
from poolwise.stats.designs.power import variance_share
from poolwise.stats.designs.suite import ItemNoise, Suite, category_noise, find, overall_noise, seed_table
from poolwise.stats.designs.within import examine, task_contrasts

Primary = Literal["auto", "suite", "tasks"]
Family = Literal["all", "category"]
MOST_POSTERIORS = 100
"""Pairs up to which the Bayesian test is computed: nobody reads a list of more, and it takes most of the time."""
PAIRS_AT_ONCE = 100
"""Pairs whose resamples of single tasks are held in memory together."""


@dataclass
class Findings:
    """The parts of the Comparison, collected category by category."""

    primary: list[Tested] = field(default_factory=list)
    baselines: list[Tested] = field(default_factory=list)
    across: list[Tested] = field(default_factory=list)
    within: list[Contrast] = field(default_factory=list)
    seeds: list[Contrast] = field(default_factory=list)
    variance: list[VarianceShare] = field(default_factory=list)
    pictures: list[RankPicture] = field(default_factory=list)
    posteriors: list[Posterior] = field(default_factory=list)
    hierarchies: list[Hierarchy] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parts: dict[Pair, dict[str, ItemNoise]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Everything that is fixed before any score is used."""

    field: Field
    pairs: list[Pair]
    baselines: list[Pair]
    equivalence: Mapping[str, float]
    num_resamples: int
    most_resamples: int
    seed: int
    primary: Primary
    within_tasks: bool
    family: Family
    share: float = 1.0


def collect(plan: Plan, category: str, found: Findings) -> None:
    """Add the tests of one category, before any correction."""
    told: dict[str, None] = {}
    for pairs, tests, across in (
        (plan.pairs, found.primary, found.across),
        (plan.baselines, found.baselines, None),
    ):
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            block = pairs[start : start + PAIRS_AT_ONCE]
            suite = _examined(plan, category, block, found, told, is_primary=across is not None)
            _add_tests(plan, category, block, suite, tests, across, found)
    found.notes += told
    _add_pictures(plan, category, found)


def _examined(
    plan: Plan, category: str, pairs: Sequence[Pair], found: Findings, told: dict[str, None], *, is_primary: bool
) -> Suite:
    """Test within each task of a category, and add up the evidence of each pair's tasks."""
    suite = Suite(category, plan.num_resamples, plan.seed)
    if not plan.within_tasks:
        return suite
    owned = {pair: set(plan.field.common(category, pair.a, pair.b)) for pair in pairs}
    for task in plan.field.tasks[category]:
        if not (having := [pair for pair in pairs if task in owned[pair]]):
            continue
        most = plan.most_resamples if is_primary else 0
        evidence, notes = examine(plan.field, task, having, plan.num_resamples, plan.seed, most)
        told.update(dict.fromkeys(notes))
        suite.add(task, having, evidence)
        if evidence is not None and is_primary:
            found.within += task_contrasts(evidence)
    return suite


def _add_tests(
    plan: Plan,
    category: str,
    pairs: Sequence[Pair],
    suite: Suite,
    tests: list[Tested],
    across: list[Tested] | None,
    found: Findings,
) -> None:
    """Add the primary test of each pair: over items where all its tasks have them, else over tasks."""
    tables: dict[tuple[str, ...], SeedTable] = {}
    spreads: dict[tuple[str, ...], FloatArray | None] = {}
    for pair in pairs:
        over_tasks = across_contrast(plan.field, category, pair, plan.equivalence[category])
        if over_tasks is None:
            continue
        tasks = plan.field.common(category, pair.a, pair.b)
        if (together := tuple(tasks)) not in spreads:
            spreads[together] = model_spread(plan.field, tasks)
        differences = task_differences(plan.field, pair, tasks)
        over_tasks.standardised = standardised(differences, spreads[together])
        noise = suite.testable(pair) if plan.primary != "tasks" else None
        if noise is None:
            _require_items(plan, suite, pair)
            tests.append(Tested(over_tasks, pair))
            continue
        noise = category_noise(noise, category, plan.field.scale, plan.seed)
        key = (*tasks, *(name for name in (pair.a, pair.b) if plan.field[name].is_anchor))
        if key not in tables:
            tables[key] = _seed_table(plan.field, pair, tasks)
        base = difference_of(plan.field, category, pair, tasks)
        update = {"equivalence": plan.equivalence[category], "standardised": over_tasks.standardised}
        base = base.model_copy(update=update)
        finding = find(base, pair, noise, tables[key], differences, plan.seed)
        tests.append(Tested(finding.contrast, pair, finding))
        if across is not None:
            across.append(Tested(over_tasks, pair))
            found.seeds += finding.others
            found.variance.append(variance_share(finding))
            if len(plan.pairs) <= PAIRS_AT_ONCE:
                found.hierarchies += hierarchy(category, pair, tasks, differences, noise.variances, finding.seed)
        if len(plan.pairs) <= PAIRS_AT_ONCE:
            found.parts.setdefault(pair, {})[category] = replace(noise, runs=None)


def _seed_table(field: Field, pair: Pair, tasks: Sequence[str]) -> SeedTable:
    """Return the means by seed over some tasks of all designs that have them, and of a baseline of the pair."""
    anchors = [entrant for entrant in field.anchors if entrant.name in (pair.a, pair.b)]
    having = [entrant for entrant in (*field.entrants, *anchors) if all(map(entrant.has, tasks))]
    return seed_table({entrant.name: task_scores(entrant, tasks).mean(axis=1) for entrant in having}, having)


def overall_tests(plan: Plan, found: Findings) -> list[Tested]:
    """Return the tests of the mean over categories, for the pairs that have items in every category.

    Empty if there are more than ``PAIRS_AT_ONCE`` pairs: the noise of every category would have to be kept.
    """
    categories = list(plan.field.tasks)
    if len(categories) < 2:
        return []
    tests = []
    tables: dict[str, SeedTable] = {}
    for pair, parts in found.parts.items():
        if list(parts) != categories:
            continue
        tasks = {name: plan.field.common(name, pair.a, pair.b) for name in categories}
        base = overall_difference(plan.field, pair, tasks)
        base = base.model_copy(update={"equivalence": sum(plan.equivalence.values()) / len(categories)})
        key = repr((tasks, [name for name in (pair.a, pair.b) if plan.field[name].is_anchor]))
        if key not in tables:
            everyone = (*plan.field.entrants, *(plan.field[n] for n in (pair.a, pair.b) if plan.field[n].is_anchor))
            having = [e for e in everyone if all(e.has(task) for names in tasks.values() for task in names)]
            tables[key] = seed_table({entrant.name: overall_scores(entrant, tasks) for entrant in having}, having)
        differences = np.concatenate([task_differences(plan.field, pair, names) for names in tasks.values()])
        finding = find(base, pair, overall_noise(list(parts.values())), tables[key], differences, plan.seed)
        tests.append(Tested(finding.contrast, pair, finding))
    return tests


def _require_items(plan: Plan, suite: Suite, pair: Pair) -> None:
    if plan.primary == "suite":
        missing = ", ".join(suite.missing.get(pair, ["any task"]))
        raise EvalError(
            f"{suite.category}: cannot test {pair.a} against {pair.b} over the suite: no items on {missing}",
            hint="call compare_runs(..., primary='tasks'), or evaluate again and keep the items",
        )


def _add_pictures(plan: Plan, category: str, found: Findings) -> None:
    if tasks := plan.field.shared[category]:
        scores = [task_scores(entrant, tasks).mean(axis=0) for entrant in plan.field.entrants]
        picture = rank_picture(category, plan.field.names, scores, generator(plan.seed, "friedman", category))
        if picture is not None:
            found.pictures.append(picture)
    equivalence = plan.equivalence[category]
    for pair in plan.pairs if len(plan.pairs) <= MOST_POSTERIORS else ():
        common = plan.field.common(category, pair.a, pair.b)
        if len(common) > 1:
            differences = task_differences(plan.field, pair, common)
            chances = signed_rank_posterior(differences, equivalence, generator(plan.seed, "bayes", category))
            found.posteriors.append(_posterior(category, pair, equivalence, chances))


def _posterior(category: str, pair: Pair, equivalence: float, chances: tuple[float, float, float]) -> Posterior:
    a_better, equal, b_better = chances
    return Posterior(
        category=category,
        a=pair.a,
        b=pair.b,
        equivalence=equivalence,
        a_better=a_better,
        equal=equal,
        b_better=b_better,
    )
