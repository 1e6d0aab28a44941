"""Runs in, one Comparison out: every number that a report prints."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.records import Comparison, Contrast, Run, Verdict
from poolwise.stats import wording
from poolwise.stats.across import ALPHA, across_contrasts, category_means
from poolwise.stats.contrasts import REASONS, Pair, declare
from poolwise.stats.entrants import Field, gather
from poolwise.stats.multiplicity import benjamini_hochberg, holm
from poolwise.stats.recommend import recommendations
from poolwise.stats.within import examine, task_contrasts


def compare_runs(
    runs: Sequence[Run],
    *,
    reference: str | None = None,
    comparisons: Sequence[str] = REASONS,
    seed: int = 0,
    num_resamples: int = 10_000,
    within_tasks: bool = True,
) -> Comparison:
    """Return the tests, verdicts and recommendations for runs of designs or of any models.

    Runs of one design (or one model name) with different seeds belong together. Models without a design are
    compared with ``reference``, or all with all where it is None. Anchors are listed and not tested.

    Args:
        reference: a canonical design or a model's name.
        comparisons: of ``reference``, ``pooling_given_attention``, ``attention_given_pooling``.
        seed: of the resampling; the same runs and seed give the same numbers, in whatever order the runs come.
        within_tasks: also test within each task, which needs per-item scores.
    Raises: EvalError where runs repeat, have no task in common, or scored other data under one task's name.
    """
    field = gather(runs)
    pairs = declare(field.entrants, reference, comparisons)
    means = category_means(field)
    contrasts = _with_verdicts(_corrected(across_contrasts(field, pairs, seed, num_resamples)))
    exploratory, notes = _within(field, pairs, num_resamples, seed) if within_tasks and pairs else ([], [])
    return Comparison(
        reference=reference,
        designs=field.names,
        means=means,
        contrasts=contrasts,
        task_contrasts=_corrected(exploratory),
        recommendations=recommendations(field, means, contrasts),
        family=wording.family(contrasts, exploratory) if contrasts else "Nothing was tested.",
        methods=wording.methods(bool(exploratory)) if contrasts else [],
        notes=[*field.notes, *([] if pairs else ["no pair to compare: give at least two designs or models"]), *notes],
    )


def _within(field: Field, pairs: Sequence[Pair], num_resamples: int, seed: int) -> tuple[list[Contrast], list[str]]:
    contrasts, notes = [], []
    for task in (task for tasks in field.tasks.values() for task in tasks):
        evidence, said = examine(field, task, pairs, num_resamples, seed)
        notes += said
        if evidence is not None:
            contrasts += task_contrasts(evidence, pairs)
    return contrasts, notes


def _corrected(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Fill in the corrections over one family; a contrast without a p is no member."""
    tested = [contrast for contrast in contrasts if contrast.p is not None]
    p_values = [contrast.p for contrast in tested if contrast.p is not None]
    for contrast, p_holm, p_bh in zip(tested, holm(p_values), benjamini_hochberg(p_values), strict=True):
        contrast.p_holm, contrast.p_bh = p_holm, p_bh
    return list(contrasts)


def _with_verdicts(contrasts: Sequence[Contrast]) -> list[Contrast]:
    for contrast in contrasts:
        contrast.verdict = contrast.verdict or _verdict(contrast)
    return list(contrasts)


def _verdict(contrast: Contrast) -> Verdict:
    if contrast.p_holm is None or contrast.p_holm >= ALPHA:
        return "not decided"
    return "better" if contrast.difference > 0 else "worse"
