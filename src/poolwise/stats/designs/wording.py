"""The methods and the family of tests in plain words, for every output alike."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.results import Contrast

RESTS_ON_SUITE = (
    "The verdicts rest on the test over these tasks, the next paragraph: it is the one that sees items and seeds, and "
    "it is taken wherever every task has items and two designs have two seeds."
)
RESTS_ON_TASKS = (
    "The verdicts rest on the test across tasks: scores, or one run of each model, are all that is needed for it. The "
    "test over these tasks would need items on every task and two seeds of two designs."
)
RESTS_ON_BOTH = (
    "The verdicts rest on the test over these tasks in the categories where every task has items and two designs have "
    "two seeds, and on the test across tasks in the others."
)
SUITE = (
    "Over these tasks (a statement about these designs on these tasks): the mean difference over a category's tasks. "
    "Within each task items are permuted as in the test of that task, and the noise of the mean follows. Seeds are a "
    "random factor crossed with the items: their effect is added with Student's t distribution, since a few seeds "
    "only estimate its size. That size is pooled over all designs, or the two designs' own where that is larger. For "
    "clustering the permutation is replaced by resampled rows."
)
OWN_SEEDS = (
    "Other treatments of the seeds stand beside it: a t test with Satterthwaite's degrees of freedom that uses the "
    "two designs' own seeds only, and the two-way (pigeonhole) bootstrap that draws items and seeds again, whose "
    "interval is too short with few seeds."
)
ACROSS = (
    "Across tasks (a statement about tasks like these): per task, a design's score is its mean over seeds; the "
    "differences of a category's tasks are tested with the two-sided Wilcoxon signed-rank test. Its null "
    "distribution is enumerated with the ties at hand; tasks without a difference are dropped and counted. With few "
    "tasks p has a floor, which stands beside it: three tasks can give no less than 0.25. From ten tasks on the "
    "interval is a percentile bootstrap over tasks, below that the Hodges-Lehmann interval where there is one. Its "
    "only sample is the tasks: how much scores move with the seed enters through the spread from task to task."
)
WITHIN = (
    "Within a task (a statement about these checkpoints, not about designs): the items are the sample. Per-item "
    "scores are averaged over seeds and the signs of their paired differences flipped at random; for correlation and "
    "average precision each model's similarities are ranked first and pairs then swapped between the models; "
    "clusters are compared by each row's contribution to B-cubed F1, and their numbers are never swapped. p counts "
    "the arrangement at hand, (b + 1) / (m + 1), and is exact where all sign patterns could be listed. Intervals are "
    "bootstraps over items, BCa for means, else percentiles of the metric recomputed each time; dependent items move "
    "together; none is given below ten."
)
PICTURES = (
    "Friedman's test with a critical-difference diagram (from five tasks on) and the Bayesian signed-rank test are "
    "shown for the overview; no verdict rests on them."
)


def methods(
    primary: Sequence[Contrast], across: Sequence[Contrast], within: Sequence[Contrast], seeds: Sequence[Contrast]
) -> list[str]:
    """Return one paragraph a test that was used."""
    estimands = {contrast.estimand for contrast in primary}
    has_suite = "designs_on_tasks" in estimands
    rests_on = RESTS_ON_BOTH if len(estimands) > 1 else RESTS_ON_SUITE if has_suite else RESTS_ON_TASKS
    has_across = bool(across) or any(contrast.estimand == "tasks_like_these" for contrast in primary)
    used = (
        (bool(primary), rests_on),
        (has_suite, SUITE),
        (bool(seeds), OWN_SEEDS),
        (has_across, ACROSS),
        (bool(within), WITHIN),
    )
    paragraphs = [text for is_used, text in used if is_used]
    return [*paragraphs, PICTURES] if paragraphs else []


def family(primary: Sequence[Contrast], across: Sequence[Contrast], within: Sequence[Contrast]) -> str:
    """Return what the corrections run over, in words."""
    tested = [contrast for contrast in primary if contrast.p is not None]
    pairs = len({(contrast.a, contrast.b) for contrast in tested})
    categories = len({contrast.category for contrast in tested})
    text = (
        f"Primary family: {_count(len(tested), 'test')}, {_count(pairs, 'declared contrast')} in "
        f"{categories} categor{'y' if categories == 1 else 'ies'}; Holm, Benjamini-Hochberg and Benjamini-Yekutieli "
        "run over all of them."
    )
    if across:
        text += f" The {_count(len(across), 'signed-rank test')} over tasks like these are corrected apart."
    if within:
        text += (
            f" The {_count(len(within), 'test')} within single tasks are another family, exploratory and corrected "
            "apart; no verdict rests on them."
        )
    return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
