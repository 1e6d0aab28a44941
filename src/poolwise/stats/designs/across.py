"""Tests across the tasks of a category: statements about tasks like these; the sample is the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from poolwise.results import CategoryMean, Contrast, Estimand
from poolwise.stats.core.inversion import flip_interval
from poolwise.stats.core.resampling import FloatArray
from poolwise.stats.core.wilcoxon import SignedRank, hodges_lehmann, signed_rank_interval, signed_rank_test
from poolwise.stats.designs.contrasts import Pair
from poolwise.stats.designs.entrants import Entrant, Field
from poolwise.stats.designs.task_families import family_of
from poolwise.stats.designs.verdict import ALPHA

OF_THE_MEAN = "sign flips of tasks, inverted"
OVERALL = "overall"
"""The category of means over categories."""


def task_scores(entrant: Entrant, tasks: Sequence[str]) -> FloatArray:
    """Return an entrant's scores (seeds x tasks)."""
    return np.array([[run.scores[task].score for task in tasks] for run in entrant.runs])


def category_means(field: Field) -> list[CategoryMean]:
    """Return each entrant's mean over the tasks of each category that all have; baselines come last.

    An entrant that lacks some of them, and every entrant of a category without such tasks, is averaged over its own.
    """
    rows = []
    for category, tasks in field.tasks.items():
        for entrant in (*field.entrants, *field.anchors):
            present = [task for task in field.shared[category] if entrant.has(task)]
            present = present or ([] if entrant.is_anchor else [task for task in tasks if entrant.has(task)])
            if present:
                by_seed = task_scores(entrant, present).mean(axis=1)
                rows.append(_mean(category, entrant.name, by_seed, len(present)))
    return rows


def _mean(category: str, name: str, by_seed: FloatArray, num_tasks: int) -> CategoryMean:
    return CategoryMean(
        category=category,
        name=name,
        mean=float(by_seed.mean()),
        by_seed=[float(mean) for mean in by_seed],
        seed_std=float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
        num_tasks=num_tasks,
    )


def overall_scores(entrant: Entrant, tasks: Mapping[str, Sequence[str]]) -> FloatArray:
    """Return the mean over categories, each with the same weight, at each seed."""
    return np.asarray(np.mean([task_scores(entrant, names).mean(axis=1) for names in tasks.values()], axis=0))


def overall_means(field: Field) -> list[CategoryMean]:
    """Return the mean over categories of each entrant and baseline that has all shared tasks of two or more of them."""
    tasks = {category: names for category, names in field.shared.items() if names}
    if len(tasks) < 2 or len(tasks) < len(field.tasks):
        return []
    count = sum(map(len, tasks.values()))
    return [
        _mean(OVERALL, entrant.name, overall_scores(entrant, tasks), count)
        for entrant in (*field.entrants, *field.anchors)
        if all(entrant.has(task) for names in tasks.values() for task in names)
    ]


def overall_difference(field: Field, pair: Pair, tasks: Mapping[str, Sequence[str]]) -> Contrast:
    """Return the difference of two means over categories, by seed where both have the seed, without a test."""
    a, b = (overall_scores(field[name], tasks)[:, None] for name in (pair.a, pair.b))
    return _untested(field, pair, a, b, OVERALL, "designs_on_tasks", sum(map(len, tasks.values())))


def difference_of(field: Field, category: str, pair: Pair, tasks: Sequence[str]) -> Contrast:
    """Return the difference of two means over some tasks, by seed where both have the seed, without a test."""
    a, b = (task_scores(field[name], tasks) for name in (pair.a, pair.b))
    left_out = [task for task in field.shared_by_any(category) if task not in tasks]
    return _untested(field, pair, a, b, category, "tasks_like_these", len(tasks), left_out)


def _untested(
    field: Field,
    pair: Pair,
    a: FloatArray,
    b: FloatArray,
    category: str,
    estimand: Estimand,
    num_tasks: int,
    left_out: Sequence[str] = (),
) -> Contrast:
    """Return the difference of the means of ``a`` and ``b`` (seeds x scores of equal weight), without a test."""
    seeds_a, seeds_b = field[pair.a].seeds, field[pair.b].seeds
    first, second = (dict(zip(*rows, strict=True)) for rows in ((seeds_a, a.mean(axis=1)), (seeds_b, b.mean(axis=1))))
    by_seed = [float(first[seed] - second[seed]) for seed in seeds_a if seed in second]
    return Contrast(
        category=category,
        a=pair.a,
        b=pair.b,
        reason=list(pair.reasons),
        difference=float(a.mean() - b.mean()),
        test="",
        estimand=estimand,
        num_tasks=num_tasks,
        left_out=list(left_out),
        num_seeds=min(len(a), len(b)),
        by_seed=by_seed,
        seed_spread=float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None,
    )


def across_contrast(field: Field, category: str, pair: Pair, equivalence: float) -> Contrast | None:
    """Return the signed-rank test of a pair in one category, on the differences by task; None without a common task.

    Tasks that are made of the same texts flip together.

    Args:
        equivalence: half the width of the region of practical equality, in units of the score.
    """
    tasks = field.common(category, pair.a, pair.b)
    if not tasks:
        return None
    differences, sources = task_differences(field, pair, tasks), sources_of(tasks)
    test = signed_rank_test(differences, sources)
    interval = flip_interval(differences, sources, level=0.95)
    count = len(set(sources)) if sources else len(tasks)
    none = f"none at 95% from {count} {'independent ' * bool(sources)}task{'s' * (count != 1)}"
    return difference_of(field, category, pair, tasks).model_copy(
        update={
            "interval": interval,
            "interval_method": OF_THE_MEAN if interval else none,
            "typical": hodges_lehmann(differences),
            "equivalence": equivalence,
            "test": "exact Wilcoxon signed-rank" if test.is_exact else "Wilcoxon signed-rank, normal approximation",
            "p": test.p,
            "smallest_p": test.smallest_p,
            "num_zeros": test.num_zeros,
            "note": _power_note(test),
        }
    )


def joint_intervals(
    field: Field, contrast: Contrast, pair: Pair, num_family: float
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Return the intervals of the mean and of the typical difference that hold together for a whole family."""
    tasks = field.common(contrast.category, pair.a, pair.b)
    differences, sources, level = task_differences(field, pair, tasks), sources_of(tasks), 1 - ALPHA / num_family
    return flip_interval(differences, sources, level=level), signed_rank_interval(differences, level, sources)


def sources_of(tasks: Sequence[str]) -> list[str]:
    """Return what each task is made of, if two of them are made of the same texts; else an empty list."""
    sources = [family_of(task).source for task in tasks]
    return sources if len(set(sources)) < len(sources) else []


def task_differences(field: Field, pair: Pair, tasks: Sequence[str]) -> FloatArray:
    """Return ``a - b`` on each task; each design's score is its mean over seeds."""
    a, b = (task_scores(field[name], tasks).mean(axis=0) for name in (pair.a, pair.b))
    return np.asarray(a - b)


def _power_note(test: SignedRank) -> str:
    zeros = f", {test.num_zeros} without a difference" if test.num_zeros else ""
    count = test.num_nonzero + test.num_zeros
    units = f" in {test.num_units} independent units" if test.num_units < test.num_nonzero else ""
    tasks = f"{count} task{'s' * (count != 1)}{units}{zeros}"
    if test.num_nonzero == 0:
        return f"{tasks}: nothing to test"
    few = ", too few for significance" if test.smallest_p >= ALPHA else ""
    return f"{tasks}: p cannot be below {test.smallest_p:.2g}{few}"
