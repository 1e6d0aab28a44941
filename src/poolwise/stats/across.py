"""Tests across the tasks of a category: statements about tasks like these, with the tasks as the sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from poolwise.records import CategoryMean, Contrast
from poolwise.stats.bootstrap import MIN_ITEMS, bootstrap_interval
from poolwise.stats.contrasts import Pair
from poolwise.stats.entrants import Entrant, Field
from poolwise.stats.resampling import FloatArray
from poolwise.stats.wilcoxon import SignedRank, signed_rank_interval, signed_rank_test

ALPHA = 0.05
OPPOSED = "mean and signed ranks point opposite ways (a few large differences against many small), so no verdict"


def task_scores(entrant: Entrant, tasks: Sequence[str]) -> FloatArray:
    """Return an entrant's scores (seeds x tasks)."""
    return np.array([[run.scores[task].score for task in tasks] for run in entrant.runs])


def category_means(field: Field) -> list[CategoryMean]:
    """Return each entrant's mean over each category's tasks, anchors last and over the tasks that they have."""
    rows = []
    for category, tasks in field.tasks.items():
        for entrant in (*field.entrants, *field.anchors):
            present = [task for task in tasks if all(task in run.scores for run in entrant.runs)]
            if present:
                rows.append(_category_mean(category, entrant, present))
    return rows


def _category_mean(category: str, entrant: Entrant, tasks: Sequence[str]) -> CategoryMean:
    by_seed = task_scores(entrant, tasks).mean(axis=1)
    return CategoryMean(
        category=category,
        name=entrant.name,
        mean=float(by_seed.mean()),
        by_seed=[float(mean) for mean in by_seed],
        seed_std=float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
        num_tasks=len(tasks),
    )


def across_contrasts(field: Field, pairs: Sequence[Pair], seed: int, num_resamples: int) -> list[Contrast]:
    """Return the signed-rank test of every pair in every category, over the differences of its tasks."""
    return [
        _contrast(field, category, tasks, pair, seed, num_resamples)
        for category, tasks in field.tasks.items()
        for pair in pairs
    ]


def _contrast(field: Field, category: str, tasks: Sequence[str], pair: Pair, seed: int, num_resamples: int) -> Contrast:
    a, b = field[pair.a], field[pair.b]
    differences = task_scores(a, tasks).mean(axis=0) - task_scores(b, tasks).mean(axis=0)
    test = signed_rank_test(differences)
    interval, interval_note = _interval(differences, seed, num_resamples)
    opposed = test.direction * differences.mean() < 0
    return Contrast(
        category=category,
        a=pair.a,
        b=pair.b,
        reason=list(pair.reasons),
        difference=float(differences.mean()),
        interval=interval,
        test="exact Wilcoxon signed-rank" if test.is_exact else "Wilcoxon signed-rank, normal approximation",
        estimand="tasks_like_these",
        p=test.p,
        smallest_p=test.smallest_p,
        num_tasks=len(tasks),
        num_zeros=test.num_zeros,
        seed_spread=seed_spread(a, b, tasks),
        verdict="not decided" if opposed else None,
        note="; ".join([_power_note(test), interval_note, *([OPPOSED] if opposed else [])]),
    )


def seed_spread(a: Entrant, b: Entrant, tasks: Sequence[str]) -> float | None:
    """Return the standard deviation of the category difference over the seeds that both have; None below two."""
    shared = [seed for seed in a.seeds if seed in b.seeds]
    if len(shared) < 2:
        return None
    picked = [
        task_scores(entrant, tasks).mean(axis=1)[[entrant.seeds.index(seed) for seed in shared]] for entrant in (a, b)
    ]
    return float(np.std(picked[0] - picked[1], ddof=1))


def _interval(differences: FloatArray, seed: int, num_resamples: int) -> tuple[tuple[float, float] | None, str]:
    count = len(differences)
    if count >= MIN_ITEMS:
        interval = bootstrap_interval(differences, num_resamples=num_resamples, seed=seed)
        return interval, f"interval: bootstrap over {count} tasks"
    if interval := signed_rank_interval(differences):
        return interval, "interval: Hodges-Lehmann, of the typical rather than the mean difference"
    return None, f"no 95% interval can be had from {count} task{'s' * (count != 1)}"


def _power_note(test: SignedRank) -> str:
    zeros = f", {test.num_zeros} of no difference" if test.num_zeros else ""
    tasks = f"{test.num_nonzero + test.num_zeros} task(s){zeros}"
    if test.num_nonzero == 0:
        return f"{tasks}: nothing to test"
    if test.smallest_p >= ALPHA:
        return f"{tasks}: p can never be below {test.smallest_p:.2g}, so nothing could be decided"
    return f"{tasks}: p can never be below {test.smallest_p:.2g}"
