"""Descriptions of the methods and the family of tests, shared by all outputs."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.results import Contrast

RESTS_ON_SUITE = (
    "The verdicts use the test over these tasks (next paragraph), because it takes items and seeds into account. It "
    "is used where every task has items and two designs have two seeds."
)
RESTS_ON_TASKS = (
    "The verdicts use the test across tasks, which needs only scores, or one run of each model. The test over these "
    "tasks would need items on every task and two seeds of two designs."
)
RESTS_ON_BOTH = (
    "The verdicts use the test over these tasks in categories where every task has items and two designs have two "
    "seeds, and the test across tasks in the other categories."
)
SUITE = (
    "Over these tasks (a statement about these designs on these tasks): the test of the mean difference over a "
    "category's tasks. Items are permuted within each task, as in the test of that task; this gives the noise of the "
    "mean. Seeds are a random factor crossed with the items. Their effect is added with Student's t distribution, "
    "because a few seeds give only an estimate of its size. The estimate is pooled over all designs; if the two "
    "designs' own estimate is larger, that is used. For clustering, rows are resampled instead of permuted."
)
OWN_SEEDS = (
    "Two other treatments of the seeds are shown for comparison: a t test with Satterthwaite's degrees of freedom, "
    "which uses only the two designs' own seeds, and the two-way (pigeonhole) bootstrap, which resamples items and "
    "seeds and whose interval is too short with few seeds."
)
ACROSS = (
    "Across tasks (a statement about tasks like these): a design's score on a task is its mean over seeds. The "
    "two-sided Wilcoxon signed-rank test is applied to the differences on a category's tasks. Its null distribution "
    "is enumerated with the actual ties; tasks without a difference are dropped and counted. With few tasks, p cannot "
    "be small; the smallest possible p is shown beside it (0.25 for three tasks). The interval is a percentile "
    "bootstrap over tasks from ten tasks on; below that it is the Hodges-Lehmann interval, if there is one. The "
    "sample is the tasks only: variation with the seed enters through the spread from task to task."
)
WITHIN = (
    "Within a task (a statement about these checkpoints, not about designs): the sample is the items. Per-item scores "
    "are averaged over seeds, and the signs of their paired differences are flipped at random. For correlation and "
    "average precision, each model's similarities are ranked first, then the ranks of pairs are swapped between the "
    "models. Clusters are compared by each row's contribution to B-cubed F1; cluster numbers are never swapped. p "
    "includes the observed arrangement, (b + 1) / (m + 1), and is exact where all sign patterns were enumerated. "
    "Intervals are bootstraps over items: BCa for means, otherwise percentiles of the recomputed metric. Dependent "
    "items are kept together. There is no interval below ten independent items."
)
PICTURES = (
    "Friedman's test with a critical-difference diagram (from five tasks on) and the Bayesian signed-rank test are "
    "shown as an overview; no verdict uses them."
)


def methods(
    primary: Sequence[Contrast], across: Sequence[Contrast], within: Sequence[Contrast], seeds: Sequence[Contrast]
) -> list[str]:
    """Return one paragraph for each test that was used."""
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
    """Return which tests are corrected together, in words."""
    tested = [contrast for contrast in primary if contrast.p is not None]
    pairs = len({(contrast.a, contrast.b) for contrast in tested})
    categories = len({contrast.category for contrast in tested})
    text = (
        f"Primary family: {_count(len(tested), 'test')}, {_count(pairs, 'declared contrast')} in "
        f"{categories} categor{'y' if categories == 1 else 'ies'}; Holm, Benjamini-Hochberg and Benjamini-Yekutieli "
        "correct over all of them."
    )
    if across:
        text += f" The {_count(len(across), 'signed-rank test')} over tasks like these are corrected separately."
    if within:
        text += (
            f" The {_count(len(within), 'test')} within single tasks are another family, exploratory and corrected "
            "separately; no verdict uses them."
        )
    return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
