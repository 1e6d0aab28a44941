"""Tests across the tasks of a category: statements about tasks like these; the sample is the tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from poolwise.results import CategoryMean, Contrast
from poolwise.stats.core.bootstrap import MIN_ITEMS, bootstrap_interval
from poolwise.stats.core.resampling import FloatArray
from poolwise.stats.core.wilcoxon import SignedRank, signed_rank_interval, signed_rank_test
from poolwise.stats.designs.contrasts import Pair
from poolwise.stats.designs.entrants import Entrant, Field
from poolwise.stats.designs.verdict import ALPHA, decide

ONE_SEED = "one seed: the variation between training runs is unknown, so no verdict on the designs"
OPPOSED = "mean and signed ranks have opposite signs (a few large differences against many small ones): no verdict"


def task_scores(entrant: Entrant, tasks: Sequence[str]) -> FloatArray:
    """Return an entrant's scores (seeds x tasks)."""
    return np.array([[run.scores[task].score for task in tasks] for run in entrant.runs])


def category_means(field: Field) -> list[CategoryMean]:
    """Return each entrant's mean over each category's tasks; baselines come last, averaged over the tasks they have."""
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


def across_contrasts(
    field: Field,
    category: str,
    pairs: Sequence[Pair],
    *,
    seed: int,
    num_resamples: int,
    num_family: int,
    equivalence: float,
) -> list[Contrast]:
    """Return the signed-rank test of every pair in one category, on the differences by task.

    Args:
        num_family: number of contrasts for which the simultaneous intervals hold together.
        equivalence: half the width of the region of practical equality, in units of the score.
    """
    tasks = field.tasks[category]
    contrasts = []
    for pair in pairs:
        differences = task_differences(field, pair, tasks)
        contrast = _contrast(field, category, pair, differences, seed, num_resamples)
        contrasts.append(_decided(contrast, differences, field, num_family, equivalence))
    return contrasts


def task_differences(field: Field, pair: Pair, tasks: Sequence[str]) -> FloatArray:
    """Return ``a - b`` on each task; each design's score is its mean over seeds."""
    a, b = (task_scores(field[name], tasks).mean(axis=0) for name in (pair.a, pair.b))
    return np.asarray(a - b)


def _contrast(
    field: Field, category: str, pair: Pair, differences: FloatArray, seed: int, num_resamples: int
) -> Contrast:
    a, b, tasks = field[pair.a], field[pair.b], field.tasks[category]
    test = signed_rank_test(differences)
    interval, method = _interval(differences, seed, num_resamples)
    by_seed = seed_differences(a, b, tasks)
    return Contrast(
        category=category,
        a=pair.a,
        b=pair.b,
        reason=list(pair.reasons),
        difference=float(differences.mean()),
        interval=interval,
        interval_method=method,
        test="exact Wilcoxon signed-rank" if test.is_exact else "Wilcoxon signed-rank, normal approximation",
        estimand="tasks_like_these",
        p=test.p,
        smallest_p=test.smallest_p,
        num_tasks=len(tasks),
        num_zeros=test.num_zeros,
        num_seeds=min(len(a.runs), len(b.runs)),
        by_seed=by_seed,
        seed_spread=float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None,
        note=_power_note(test),
    )


def _decided(
    contrast: Contrast, differences: FloatArray, field: Field, num_family: int, equivalence: float
) -> Contrast:
    """Add the simultaneous interval and the verdict based on it."""
    simultaneous = signed_rank_interval(differences, 1 - ALPHA / num_family)
    verdict, remark = decide(simultaneous, equivalence)
    if any(field[name].design is not None and len(field[name].runs) == 1 for name in (contrast.a, contrast.b)):
        verdict, remark = "not decided", ONE_SEED
    elif verdict in ("better", "worse") and contrast.difference * (1 if verdict == "better" else -1) <= 0:
        verdict, remark = "not decided", OPPOSED
    note = "; ".join(part for part in (contrast.note, remark) if part)
    update = {"simultaneous": simultaneous, "equivalence": equivalence, "verdict": verdict, "note": note}
    return contrast.model_copy(update=update)


def seed_differences(a: Entrant, b: Entrant, tasks: Sequence[str]) -> list[float]:
    """Return the difference of the category means at each seed that both have."""
    means = {
        entrant.name: dict(zip(entrant.seeds, task_scores(entrant, tasks).mean(axis=1), strict=True))
        for entrant in (a, b)
    }
    return [float(means[a.name][seed] - means[b.name][seed]) for seed in a.seeds if seed in b.seeds]


def _interval(differences: FloatArray, seed: int, num_resamples: int) -> tuple[tuple[float, float] | None, str]:
    count = len(differences)
    if count >= MIN_ITEMS:
        interval = bootstrap_interval(differences, num_resamples=num_resamples, seed=seed)
        return interval, f"percentile bootstrap over {count} tasks"
    if interval := signed_rank_interval(differences):
        return interval, "signed-rank (Hodges-Lehmann), of the typical difference, not of the mean"
    return None, f"none at 95% from {count} task{'s' * (count != 1)}"


def _power_note(test: SignedRank) -> str:
    zeros = f", {test.num_zeros} without a difference" if test.num_zeros else ""
    count = test.num_nonzero + test.num_zeros
    tasks = f"{count} task{'s' * (count != 1)}{zeros}"
    if test.num_nonzero == 0:
        return f"{tasks}: nothing to test"
    if test.smallest_p >= ALPHA:
        return f"{tasks}: p cannot be below {test.smallest_p:.2g}, too few for significance"
    return f"{tasks}: p cannot be below {test.smallest_p:.2g}"
