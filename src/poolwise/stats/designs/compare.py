"""From evaluated runs to one Comparison: every number that a report prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

import numpy as np

from poolwise.errors import EvalError, nearest
from poolwise.records import CATEGORIES, Run
from poolwise.results import Comparison, Contrast, Posterior, RankPicture, VarianceShare
from poolwise.stats.core.bayes import signed_rank_posterior
from poolwise.stats.core.resampling import generator
from poolwise.stats.core.seed_spread import SeedTable
from poolwise.stats.designs import wording
from poolwise.stats.designs.across import (
    across_contrast,
    category_means,
    difference_of,
    overall_difference,
    overall_means,
    overall_scores,
    task_differences,
    task_scores,
)
from poolwise.stats.designs.contrasts import REASONS, Pair, against_baselines, declare
from poolwise.stats.designs.entrants import Field, gather
from poolwise.stats.designs.families import Tested, correct, judge
from poolwise.stats.designs.friedman import rank_picture
from poolwise.stats.designs.power import variance_share
from poolwise.stats.designs.recommend import recommendations
from poolwise.stats.designs.suite import ItemNoise, Suite, category_noise, find, overall_noise, seed_table
from poolwise.stats.designs.verdict import ALPHA, EQUIVALENCE, rule
from poolwise.stats.designs.within import examine, task_contrasts

Primary = Literal["auto", "suite", "tasks"]
Family = Literal["all", "category"]
LEAST_RESAMPLES = 10_000
MOST_RESAMPLES = 200_000
MOST_POSTERIORS = 100
"""Pairs up to which the Bayesian test is computed: nobody reads a list of more, and it takes most of the time."""
MOST_NAMED = 10
"""Tasks that a note names."""
PAIRS_AT_ONCE = 100
"""Pairs whose resamples are held in memory together: 100 pairs x 4 arrays x 10,000 numbers are 32 MB."""


@dataclass
class _Findings:
    """The parts of the Comparison, collected category by category."""

    primary: list[Tested] = field(default_factory=list)
    baselines: list[Tested] = field(default_factory=list)
    across: list[Tested] = field(default_factory=list)
    within: list[Contrast] = field(default_factory=list)
    seeds: list[Contrast] = field(default_factory=list)
    variance: list[VarianceShare] = field(default_factory=list)
    pictures: list[RankPicture] = field(default_factory=list)
    posteriors: list[Posterior] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parts: dict[Pair, dict[str, ItemNoise]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Plan:
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


def compare_runs(
    runs: Sequence[Run],
    *,
    reference: str | None = None,
    comparisons: Sequence[str] = REASONS,
    seed: int = 0,
    num_resamples: int | None = None,
    within_tasks: bool = True,
    primary: Primary = "auto",
    equivalence: float | Mapping[str, float] = EQUIVALENCE,
    family: Family = "all",
) -> Comparison:
    """Return the tests, verdicts and recommendations for runs of designs or of any models.

    Runs of one design (or one model name) with different seeds are grouped. Models without a design are compared
    with ``reference``, or all with all if it is None. Each is also tested against every baseline, in a family of its
    own. A pair is compared on the tasks that both have.

    Args:
        reference: a canonical design or a model's name.
        comparisons: any of ``reference``, ``pooling_given_attention``, ``attention_given_pooling``,
            ``adaptation_given_design``.
        seed: seed of the resampling; the same runs and seed give the same numbers in any order of the runs.
        num_resamples: None means 10,000, or 20 / 0.05 for each test of a family if that is more, up to 200,000.
        within_tasks: also test within each task and over the suite; needs per-item scores.
        primary: the test behind the verdicts. ``suite``: about these designs (or checkpoints) on these tasks; the
            sample is items and seeds. ``tasks``: about tasks like these. ``auto``: ``suite`` for each pair whose tasks
            all have items.
        equivalence: largest difference that does not matter in practice, as a fraction; a mapping gives it by category.
        family: which contrasts are corrected together: all, or those of each category for themselves.
    Raises: EvalError if runs repeat, share no task, scored different data under one task name, or do not fit in memory.
    """
    everyone = gather(runs)
    pairs = declare(everyone.entrants, reference, comparisons)
    num_tests = len(pairs) if family == "category" else len(pairs) * len(everyone.tasks)
    num_tasks = sum(len(tasks) for tasks in everyone.tasks.values())
    plan = _Plan(
        everyone,
        pairs,
        against_baselines(everyone.entrants, everyone.anchors),
        _equivalence(everyone, equivalence),
        num_resamples or resamples_for(num_tests),
        num_resamples or resamples_for(len(pairs) * num_tasks),
        seed,
        primary,
        within_tasks,
        family,
    )
    found = _Findings(notes=list(plan.field.notes))
    try:
        for category in everyone.tasks:
            _collect(plan, category, found)
        return _assembled(plan, reference, found)
    except MemoryError as error:
        raise EvalError(
            f"out of memory: {len(pairs)} pairs of {len(everyone.entrants)} models, {plan.num_resamples} resamples",
            hint="compare fewer models at once, name a reference, or ask for fewer resamples",
        ) from error


def resamples_for(num_tests: int) -> int:
    """Return how many resamples a family of tests needs, so that 20 of them lie beyond the corrected alpha level."""
    return min(MOST_RESAMPLES, max(LEAST_RESAMPLES, ceil(20 * num_tests / ALPHA)))


def _equivalence(everyone: Field, wanted: float | Mapping[str, float]) -> dict[str, float]:
    """Return the equivalence margin by category, in units of the scores (times 100 if they are percentages)."""
    sizes = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(everyone.tasks, wanted)
    if unknown := [name for name in sizes if name not in CATEGORIES]:
        raise EvalError(f"unknown category {unknown[0]!r} in equivalence", nearest(unknown[0], CATEGORIES))
    if bad := [size for size in sizes.values() if not 0 <= size < 1]:
        raise EvalError(f"equivalence {bad[0]:g} is not a fraction", "wanted 0 <= equivalence < 1, such as 0.005")
    scale = everyone.scale
    return {category: sizes.get(category, EQUIVALENCE) * scale for category in everyone.tasks}


def _collect(plan: _Plan, category: str, found: _Findings) -> None:
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
    plan: _Plan, category: str, pairs: Sequence[Pair], found: _Findings, told: dict[str, None], *, is_primary: bool
) -> Suite:
    """Test within each task of a category, and add up the evidence of each pair's tasks."""
    suite = Suite(category, pairs, plan.num_resamples, plan.seed)
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
    plan: _Plan,
    category: str,
    pairs: Sequence[Pair],
    suite: Suite,
    tests: list[Tested],
    across: list[Tested] | None,
    found: _Findings,
) -> None:
    """Add the primary test of each pair: over items where all its tasks have them, else over tasks."""
    tables: dict[tuple[str, ...], SeedTable] = {}
    for pair in pairs:
        over_tasks = across_contrast(plan.field, category, pair, plan.equivalence[category])
        if over_tasks is None:
            continue
        noise = suite.testable(pair) if plan.primary != "tasks" else None
        if noise is None:
            _require_items(plan, suite, pair)
            tests.append(Tested(over_tasks, pair))
            continue
        tasks = plan.field.common(category, pair.a, pair.b)
        noise = category_noise(noise, category, plan.field.scale, plan.seed)
        key = (*tasks, *(name for name in (pair.a, pair.b) if plan.field[name].is_anchor))
        if key not in tables:
            tables[key] = _seed_table(plan.field, pair, tasks)
        base = difference_of(plan.field, category, pair, tasks)
        base = base.model_copy(update={"equivalence": plan.equivalence[category]})
        differences = task_differences(plan.field, pair, tasks)
        finding = find(base, pair, noise, tables[key], differences, plan.seed)
        tests.append(Tested(finding.contrast, pair, finding))
        if across is not None:
            across.append(Tested(over_tasks, pair))
            found.seeds += finding.others
            found.variance.append(variance_share(finding))
            found.parts.setdefault(pair, {})[category] = noise


def _seed_table(field: Field, pair: Pair, tasks: Sequence[str]) -> SeedTable:
    """Return the means by seed over some tasks of all designs that have them, and of a baseline of the pair."""
    anchors = [entrant for entrant in field.anchors if entrant.name in (pair.a, pair.b)]
    having = [entrant for entrant in (*field.entrants, *anchors) if all(map(entrant.has, tasks))]
    return seed_table({entrant.name: task_scores(entrant, tasks).mean(axis=1) for entrant in having}, having)


def _overall(plan: _Plan, found: _Findings) -> list[Tested]:
    """Return the tests of the mean over categories, for the pairs that have items in every category."""
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
        key = repr(tasks)
        if key not in tables:
            having = [e for e in plan.field.entrants if all(e.has(task) for names in tasks.values() for task in names)]
            tables[key] = seed_table({entrant.name: overall_scores(entrant, tasks) for entrant in having}, having)
        differences = np.concatenate([task_differences(plan.field, pair, names) for names in tasks.values()])
        finding = find(base, pair, overall_noise(list(parts.values())), tables[key], differences, plan.seed)
        tests.append(Tested(finding.contrast, pair, finding))
    return tests


def _require_items(plan: _Plan, suite: Suite, pair: Pair) -> None:
    if plan.primary == "suite":
        missing = ", ".join(suite.missing.get(pair, ["any task"]))
        raise EvalError(
            f"{suite.category}: cannot test {pair.a} against {pair.b} over the suite: no items on {missing}",
            hint="call compare_runs(..., primary='tasks'), or evaluate again and keep the items",
        )


def _add_pictures(plan: _Plan, category: str, found: _Findings) -> None:
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


def _assembled(plan: _Plan, reference: str | None, found: _Findings) -> Comparison:
    means = category_means(plan.field)
    by_category = plan.family == "category"
    sizes, power = judge(plan.field, found.primary, by_category=by_category)
    judge(plan.field, found.across, by_category=by_category)
    judge(plan.field, found.baselines, by_category=by_category)
    over_categories = _overall(plan, found)
    judge(plan.field, over_categories)
    for contrasts in (found.within, *_by_test(found.seeds)):
        correct(contrasts)
    num_tasks = sum(len(tasks) for tasks in plan.field.tasks.values())
    families = (found.primary, found.across, found.baselines, over_categories)
    primary, across, baselines, overall = ([test.contrast for test in tests] for tests in families)
    means += overall_means(plan.field)
    return Comparison(
        reference=reference,
        designs=plan.field.names,
        means=means,
        contrasts=primary,
        task_contrasts=found.within,
        tasks_like_these=across,
        against_baselines=baselines,
        overall=overall,
        seed_contrasts=found.seeds,
        variance=found.variance,
        power=power,
        rank_pictures=found.pictures,
        posteriors=found.posteriors,
        recommendations=recommendations(plan.field, means, [*primary, *overall], baselines),
        rule=rule(sizes, plan.equivalence) if plan.pairs else "",
        family=wording.family(primary, across, found.within, baselines, by_category=by_category),
        methods=wording.methods(primary, across, found.within, found.seeds),
        notes=[
            *_grouped(found.notes, num_tasks),
            *_resampling_notes(plan, primary, found.within),
            *_pair_notes(plan),
        ],
    )


def _by_test(contrasts: Sequence[Contrast]) -> Iterator[list[Contrast]]:
    """Yield the contrasts by test: each treatment of the seeds is its own family."""
    for test in sorted({contrast.test for contrast in contrasts}):
        yield [contrast for contrast in contrasts if contrast.test == test]


def _resampling_notes(plan: _Plan, primary: Sequence[Contrast], within: Sequence[Contrast]) -> list[str]:
    """Notes on families where p cannot get small enough with this number of resamples."""
    notes = []
    # Tests within tasks that are far from the corrected level are not refined, and need not be.
    pinned = [contrast for contrast in within if contrast.p == contrast.smallest_p]
    for name, contrasts, tested in (("primary", primary, primary), ("within-task", within, pinned)):
        floors = [c.smallest_p or 0.0 for c in tested if "permut" in c.test]
        floor = max((p for p in floors if p < 1.5 / (plan.num_resamples + 1)), default=0.0)
        if floor * len(contrasts) > ALPHA:
            notes.append(
                f"the {name} family has {len(contrasts)} tests: with {plan.num_resamples} resamples, no corrected p "
                f"can be below {min(1.0, floor * len(contrasts)):.2g}; to fix this, call "
                f"compare_runs(..., num_resamples={resamples_for(len(contrasts))}) in Python"
            )
    return notes


def _grouped(notes: Sequence[str], num_tasks: int) -> list[str]:
    """Merge the notes on tasks without a test within: one note for each reason, with its tasks, by number if many."""
    tasks: dict[str, list[str]] = {}
    for note in notes:
        reason, sign, task = note.rpartition(": ")
        if sign and reason.startswith("no test within"):
            tasks.setdefault(reason, []).append(task)
        else:
            tasks[note] = []
    return [f"{reason}: {_listed(names, num_tasks)}" if names else reason for reason, names in tasks.items()]


def _listed(names: Sequence[str], num_tasks: int) -> str:
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    count = f"all {num_tasks}" if len(names) == num_tasks else f"{len(names)} of {num_tasks}"
    return f"{count} tasks, such as {', '.join(names[:3])}"


def _pair_notes(plan: _Plan) -> list[str]:
    return [] if plan.pairs else ["nothing to compare: give at least two designs or models"]
