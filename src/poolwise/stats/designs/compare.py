"""From evaluated runs to one Comparison: every number that a report prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil

from poolwise.errors import EvalError, nearest
from poolwise.records import CATEGORIES, Run
from poolwise.results import Comparison, Contrast
from poolwise.stats.designs import wording
from poolwise.stats.designs.across import category_means, overall_means
from poolwise.stats.designs.collect import Family, Findings, Plan, Primary, collect, overall_tests
from poolwise.stats.designs.contrasts import REASONS, against_baselines, declare
from poolwise.stats.designs.entrants import Field, gather
from poolwise.stats.designs.families import correct, judge
from poolwise.stats.designs.recommend import recommendations
from poolwise.stats.designs.verdict import ALPHA, EQUIVALENCE, rule

LEAST_RESAMPLES = 10_000
MOST_RESAMPLES = 50_000
MOST_BYTES = 1_000_000_000
"""Memory of the resamples of a family: two numbers of eight bytes for each test and resample."""
MOST_NAMED = 10
"""Tasks that a note names."""


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
    share: float = 1.0,
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
        num_resamples: None means 10,000, or 20 / 0.05 for each test of a family if that is more, up to 50,000.
        within_tasks: also test within each task and over the suite; needs per-item scores.
        primary: the test behind the verdicts. ``suite``: about these designs (or checkpoints) on these tasks; the
            sample is items and seeds. ``tasks``: about tasks like these. ``auto``: ``suite`` for each pair whose tasks
            all have items.
        equivalence: largest difference that does not matter in practice, as a fraction; a mapping gives it by category.
        family: which contrasts are corrected together: all, or those of each category for themselves.
        share: the part of 0.05 that verdicts may use, above 0 and at most 1; a study that looks at its results several
            times spends 0.05 over the looks (``stats.core.spending``). Corrected p-values are divided by it.
    Raises: EvalError if runs repeat, share no task, scored different data under one task name, or do not fit in memory.
    """
    everyone = gather(runs)
    pairs = declare(everyone.entrants, reference, comparisons)
    num_tests = len(pairs) if family == "category" else len(pairs) * len(everyone.tasks)
    num_tasks = sum(len(tasks) for tasks in everyone.tasks.values())
    plan = Plan(
        everyone,
        pairs,
        against_baselines(everyone.entrants, everyone.anchors),
        _equivalence(everyone, equivalence),
        num_resamples or resamples_for(ceil(num_tests / share)),
        num_resamples or resamples_for(ceil(len(pairs) * num_tasks / share)),
        seed,
        primary,
        within_tasks,
        family,
        share,
    )
    found = Findings(notes=list(plan.field.notes))
    try:
        for category in everyone.tasks:
            collect(plan, category, found)
        return _assembled(plan, reference, found)
    except MemoryError as error:
        raise EvalError(
            f"out of memory: {len(pairs)} pairs of {len(everyone.entrants)} models, {plan.num_resamples} resamples",
            hint="compare fewer models at once, name a reference, or ask for fewer resamples",
        ) from error


def resamples_for(num_tests: int) -> int:
    """Return how many resamples a family of tests needs, so that 20 of them lie beyond the corrected alpha level.

    In a family of more than about a thousand tests they are as many as ``MOST_BYTES`` hold.
    """
    wanted = max(LEAST_RESAMPLES, ceil(20 * num_tests / ALPHA))
    return max(LEAST_RESAMPLES // 10, min(MOST_RESAMPLES, MOST_BYTES // (16 * max(1, num_tests)), wanted))


def _equivalence(everyone: Field, wanted: float | Mapping[str, float]) -> dict[str, float]:
    """Return the equivalence margin by category, in units of the scores (times 100 if they are percentages)."""
    sizes = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(everyone.tasks, wanted)
    if unknown := [name for name in sizes if name not in CATEGORIES]:
        raise EvalError(f"unknown category {unknown[0]!r} in equivalence", nearest(unknown[0], CATEGORIES))
    if bad := [size for size in sizes.values() if not 0 <= size < 1]:
        raise EvalError(f"equivalence {bad[0]:g} is not a fraction", "wanted 0 <= equivalence < 1, such as 0.005")
    scale = everyone.scale
    return {category: sizes.get(category, EQUIVALENCE) * scale for category in everyone.tasks}


def _assembled(plan: Plan, reference: str | None, found: Findings) -> Comparison:
    means = category_means(plan.field)
    by_category = plan.family == "category"
    sizes, power = judge(plan.field, found.primary, by_category=by_category, share=plan.share)
    judge(plan.field, found.across, by_category=by_category, share=plan.share)
    over_everything = overall_tests(plan, found)
    over_categories = [test for test in over_everything if test.pair in plan.pairs]
    found.baselines += [test for test in over_everything if test.pair in plan.baselines]
    judge(plan.field, found.baselines, by_category=by_category, share=plan.share)
    judge(plan.field, over_categories, share=plan.share)
    for contrasts in (found.within, *_by_test(found.seeds)):
        correct(contrasts, plan.share)
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
        hierarchies=found.hierarchies,
        share=plan.share,
        recommendations=recommendations(plan.field, means, [*primary, *overall], baselines),
        rule=rule(sizes, plan.equivalence, plan.share) if plan.pairs else "",
        family=wording.family(primary, across, found.within, baselines, by_category=by_category),
        by_category=by_category,
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


def _resampling_notes(plan: Plan, primary: Sequence[Contrast], within: Sequence[Contrast]) -> list[str]:
    """Notes on families where p cannot get small enough with this number of resamples."""
    notes = []
    # Tests within tasks that are far from the corrected level are not refined, and need not be.
    pinned = [contrast for contrast in within if contrast.p == contrast.smallest_p]
    for name, contrasts, tested in (("primary", primary, primary), ("within-task", within, pinned)):
        floors = [c.smallest_p or 0.0 for c in tested if "permut" in c.test]
        floor = max((p for p in floors if p < 1.5 / (plan.num_resamples + 1)), default=0.0) / plan.share
        if floor * len(contrasts) > ALPHA:
            notes.append(
                f"the {name} family has {len(contrasts)} tests: with {plan.num_resamples} resamples, no corrected p "
                f"can be below {min(1.0, floor * len(contrasts)):.2g}; to fix this, give --resamples "
                f"{resamples_for(len(contrasts))} (in Python num_resamples={resamples_for(len(contrasts))})"
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


def _pair_notes(plan: Plan) -> list[str]:
    return [] if plan.pairs else ["nothing to compare: give at least two designs or models"]
