"""From evaluated runs to one Comparison: every number that a report prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from poolwise.errors import EvalError, nearest
from poolwise.records import CATEGORIES, Run
from poolwise.results import Comparison, Contrast, Posterior, Power, RankPicture, VarianceShare
from poolwise.stats.core.bayes import signed_rank_posterior
from poolwise.stats.core.multiplicity import benjamini_hochberg, benjamini_yekutieli, holm
from poolwise.stats.core.resampling import generator
from poolwise.stats.designs import wording
from poolwise.stats.designs.across import across_contrasts, category_means, task_differences, task_scores
from poolwise.stats.designs.contrasts import REASONS, Pair, declare
from poolwise.stats.designs.entrants import Field, gather
from poolwise.stats.designs.friedman import rank_picture
from poolwise.stats.designs.power import suite_power, task_power, variance_share
from poolwise.stats.designs.recommend import recommendations
from poolwise.stats.designs.suite import Suite, suite_findings
from poolwise.stats.designs.verdict import ALPHA, EQUIVALENCE, confirm, rule
from poolwise.stats.designs.within import examine, task_contrasts

Primary = Literal["auto", "suite", "tasks"]
LEAST_RESAMPLES = 10_000


@dataclass
class _Findings:
    """The parts of the Comparison, collected category by category."""

    primary: list[Contrast] = field(default_factory=list)
    across: list[Contrast] = field(default_factory=list)
    within: list[Contrast] = field(default_factory=list)
    seeds: list[Contrast] = field(default_factory=list)
    variance: list[VarianceShare] = field(default_factory=list)
    power: list[Power] = field(default_factory=list)
    pictures: list[RankPicture] = field(default_factory=list)
    posteriors: list[Posterior] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Plan:
    """Everything that is fixed before any score is used."""

    field: Field
    pairs: list[Pair]
    equivalence: Mapping[str, float]
    num_resamples: int
    most_resamples: int
    seed: int
    primary: Primary
    within_tasks: bool

    @property
    def num_family(self) -> int:
        return max(1, len(self.pairs) * len(self.field.tasks))


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
) -> Comparison:
    """Return the tests, verdicts and recommendations for runs of designs or of any models.

    Runs of one design (or one model name) with different seeds are grouped. Models without a design are compared
    with ``reference``, or all with all if it is None. Baselines are listed but not tested.

    Args:
        reference: a canonical design or a model's name.
        comparisons: any of ``reference``, ``pooling_given_attention``, ``attention_given_pooling``,
            ``adaptation_given_design``.
        seed: seed of the resampling; the same runs and seed give the same numbers in any order of the runs.
        num_resamples: None means 10,000, or 20 / 0.05 for each test of a family if that is more.
        within_tasks: also test within each task and over the suite; needs per-item scores.
        primary: the test behind the verdicts. ``suite``: about these designs on these tasks; the sample is items and
            seeds. ``tasks``: about tasks like these. ``auto``: ``suite`` where there are items and two seeds.
        equivalence: largest difference that does not matter in practice, as a fraction; a mapping gives it by category.
    Raises: EvalError if runs repeat, share no task, or scored different data under one task name.
    """
    everyone = gather(runs)
    pairs = declare(everyone.entrants, reference, comparisons)
    num_tasks = sum(len(tasks) for tasks in everyone.tasks.values())
    plan = _Plan(
        everyone,
        pairs,
        _equivalence(everyone, equivalence),
        num_resamples or resamples_for(len(pairs) * len(everyone.tasks)),
        num_resamples or resamples_for(len(pairs) * num_tasks),
        seed,
        primary,
        within_tasks,
    )
    return _assembled(plan, reference, _collected(plan))


def resamples_for(num_tests: int) -> int:
    """Return how many resamples a family of tests needs, so that 20 of them lie beyond the corrected alpha level."""
    return max(LEAST_RESAMPLES, ceil(20 * num_tests / ALPHA))


def _equivalence(everyone: Field, wanted: float | Mapping[str, float]) -> dict[str, float]:
    """Return the equivalence margin by category, in units of the scores (times 100 if they are percentages)."""
    sizes = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(everyone.tasks, wanted)
    if unknown := [name for name in sizes if name not in CATEGORIES]:
        raise EvalError(f"unknown category {unknown[0]!r} in equivalence", nearest(unknown[0], CATEGORIES))
    if bad := [size for size in sizes.values() if not 0 <= size < 1]:
        raise EvalError(f"equivalence {bad[0]:g} is not a fraction", "wanted 0 <= equivalence < 1, such as 0.005")
    scale = everyone.scale
    return {category: sizes.get(category, EQUIVALENCE) * scale for category in everyone.tasks}


def _collected(plan: _Plan) -> _Findings:
    found = _Findings(notes=list(plan.field.notes))
    for category, tasks in plan.field.tasks.items():
        suite = _examined(plan, category, found) if plan.within_tasks and plan.pairs else None
        across = across_contrasts(
            plan.field,
            category,
            plan.pairs,
            seed=plan.seed,
            num_resamples=plan.num_resamples,
            num_family=plan.num_family,
            equivalence=plan.equivalence[category],
        )
        if suite is not None and _takes_suite(plan, suite):
            _add_suite(plan, suite, found)
            found.across += across
        else:
            found.primary += across
            found.power += [
                task_power(
                    contrast,
                    task_differences(plan.field, pair, tasks),
                    plan.num_family,
                    plan.equivalence[category],
                )
                for contrast, pair in zip(across, plan.pairs, strict=True)
            ]
        _add_pictures(plan, category, tasks, found)
    return found


def _examined(plan: _Plan, category: str, found: _Findings) -> Suite:
    """Test within each task of a category, and add up the evidence of all tasks."""
    suite = Suite(category, plan.pairs, plan.num_resamples, plan.seed)
    for task in plan.field.tasks[category]:
        evidence, notes = examine(plan.field, task, plan.pairs, plan.num_resamples, plan.seed, plan.most_resamples)
        found.notes += notes
        suite.add(task, evidence)
        if evidence is not None:
            found.within += task_contrasts(evidence, plan.pairs)
    return suite


def _takes_suite(plan: _Plan, suite: Suite) -> bool:
    """Return whether the suite test gives the verdicts: it needs items on all tasks and a pair with two seeds."""
    has_seeds = any(all(len(plan.field[name].runs) > 1 for name in (pair.a, pair.b)) for pair in plan.pairs)
    is_possible = not suite.missing and has_seeds
    if plan.primary == "suite" and not is_possible:
        reason = f"no items on {', '.join(suite.missing)}" if suite.missing else "no two designs have two seeds"
        raise EvalError(
            f"{suite.category}: cannot test over the suite: {reason}",
            hint="call compare_runs(..., primary='tasks'), or evaluate two seeds and keep the items",
        )
    return is_possible and plan.primary != "tasks"


def _add_suite(plan: _Plan, suite: Suite, found: _Findings) -> None:
    equivalence = plan.equivalence[suite.category]
    for finding in suite_findings(plan.field, suite, plan.num_family, equivalence):
        found.primary.append(finding.contrast)
        found.seeds += finding.others
        if (share := variance_share(finding)) is not None:
            found.variance.append(share)
        if (power := suite_power(finding, plan.num_family, equivalence)) is not None:
            found.power.append(power)


def _add_pictures(plan: _Plan, category: str, tasks: Sequence[str], found: _Findings) -> None:
    scores = [task_scores(entrant, tasks).mean(axis=0) for entrant in plan.field.entrants]
    picture = rank_picture(category, plan.field.names, scores, generator(plan.seed, "friedman", category))
    if picture is not None:
        found.pictures.append(picture)
    equivalence = plan.equivalence[category]
    for pair in plan.pairs if len(tasks) > 1 else ():
        differences = task_differences(plan.field, pair, tasks)
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
    for contrasts in (found.primary, found.across, found.within, *_by_test(found.seeds)):
        correct(contrasts)
    for contrasts in (found.primary, found.across):
        confirm(contrasts)
    return Comparison(
        reference=reference,
        designs=plan.field.names,
        means=means,
        contrasts=found.primary,
        task_contrasts=found.within,
        tasks_like_these=found.across,
        seed_contrasts=found.seeds,
        variance=found.variance,
        power=found.power,
        rank_pictures=found.pictures,
        posteriors=found.posteriors,
        recommendations=recommendations(plan.field, means, found.primary),
        rule=rule(plan.num_family, dict(plan.equivalence)) if plan.pairs else "",
        family=wording.family(found.primary, found.across, found.within) if plan.pairs else "Nothing was tested.",
        methods=wording.methods(found.primary, found.across, found.within, found.seeds),
        notes=[*_grouped(found.notes), *_resampling_notes(plan, found), *_pair_notes(plan)],
    )


def _by_test(contrasts: Sequence[Contrast]) -> Iterator[list[Contrast]]:
    """Yield the contrasts by test: each treatment of the seeds is its own family."""
    for test in sorted({contrast.test for contrast in contrasts}):
        yield [contrast for contrast in contrasts if contrast.test == test]


def correct(contrasts: Sequence[Contrast]) -> None:
    """Fill in the corrected p-values of one family, in place; contrasts without a p do not belong to it."""
    tested = [contrast for contrast in contrasts if contrast.p is not None]
    p_values = [contrast.p for contrast in tested if contrast.p is not None]
    adjusted = zip(holm(p_values), benjamini_hochberg(p_values), benjamini_yekutieli(p_values), strict=True)
    for contrast, (p_holm, p_bh, p_by) in zip(tested, adjusted, strict=True):
        contrast.p_holm, contrast.p_bh, contrast.p_by = p_holm, p_bh, p_by


def _resampling_notes(plan: _Plan, found: _Findings) -> list[str]:
    """Notes on families where p cannot get small enough with this number of resamples."""
    notes = []
    # Tests within tasks that are far from the corrected level are not refined, and need not be.
    pinned = [contrast for contrast in found.within if contrast.p == contrast.smallest_p]
    for name, contrasts, tested in (("primary", found.primary, found.primary), ("within-task", found.within, pinned)):
        floors = [c.smallest_p or 0.0 for c in tested if "permut" in c.test]
        floor = max((p for p in floors if p < 1.5 / (plan.num_resamples + 1)), default=0.0)
        if floor * len(contrasts) > ALPHA:
            notes.append(
                f"the {name} family has {len(contrasts)} tests: with {plan.num_resamples} resamples, no corrected p "
                f"can be below {min(1.0, floor * len(contrasts)):.2g}; to fix this, call "
                f"compare_runs(..., num_resamples={resamples_for(len(contrasts))}) in Python"
            )
    return notes


def _grouped(notes: Sequence[str]) -> list[str]:
    """Merge the notes on tasks without a test within: one note for each reason, with all its tasks."""
    tasks: dict[str, list[str]] = {}
    for note in notes:
        reason, sign, task = note.rpartition(": ")
        if sign and reason.startswith("no test within"):
            tasks.setdefault(reason, []).append(task)
        else:
            tasks[note] = []
    return [f"{reason}: {', '.join(names)}" if names else reason for reason, names in tasks.items()]


def _pair_notes(plan: _Plan) -> list[str]:
    return [] if plan.pairs else ["nothing to compare: give at least two designs or models"]
