"""Descriptions of the methods and the family of tests, shared by all outputs."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.results import Contrast
from poolwise.stats.core.seed_spread import SEED_RULE

RESTS_ON_SUITE = (
    "The verdicts use the test over these tasks (next paragraph), because it takes items and seeds into account. It "
    "is used for each pair whose tasks all have items."
)
RESTS_ON_TASKS = (
    "The verdicts use the test across tasks, which needs only scores. The test over these tasks would need items on "
    "every task of a pair."
)
RESTS_ON_BOTH = (
    "The verdicts use the test over these tasks for each pair whose tasks all have items, and the test across tasks "
    "for the others."
)
SUITE = (
    "Over these tasks: the test of the mean difference over the tasks of a category that both have. Items are permuted "
    "within each task, as in the test of that task; this gives the noise of the mean. The interval resamples items. "
    "Where no difference is found, it is widened by what items unlike all of these could hide (ten items without a "
    "difference leave room for one in a quarter of all items). For clustering, p and interval come from subsamples of "
    "the rows."
)
SEEDS = (
    "Seeds (a statement about these designs on these tasks) are a random factor crossed with the items. Their effect "
    "is added with Student's t distribution, because a few seeds give only an estimate of its size. {rule}"
)
CHECKPOINTS = (
    "Models of which one checkpoint is given have no effect of seeds: the statement is about these checkpoints on "
    "these tasks. A design that was trained once gets no verdict."
)
OWN_SEEDS = (
    "Two other treatments of the seeds are shown for comparison: a t test with Satterthwaite's degrees of freedom, "
    "which uses only the two designs' own seeds, and the two-way (pigeonhole) bootstrap, which resamples items and "
    "seeds and whose interval is too short with few seeds."
)
ACROSS = (
    "Across tasks (a statement about tasks like these): a design's score on a task is its mean over seeds. The "
    "two-sided Wilcoxon signed-rank test is applied to the differences on a category's tasks. Its null distribution "
    "is enumerated with the actual ties; tasks without a difference are dropped and counted; of two versions of a task "
    "one is used, and tasks made of the same texts flip together. With few tasks, p cannot be small; the smallest "
    "possible p is shown beside it (0.25 for three tasks). p is about the typical task (Hodges-Lehmann); the printed "
    "difference and its interval are of the mean, by inverting sign flips of the tasks. The sample is the tasks only: "
    "variation with the seed enters through the spread from task to task."
)
WITHIN = (
    "Within a task (a statement about these checkpoints, not about designs): the sample is the items. Per-item scores "
    "are averaged over seeds, and the signs of their paired differences are flipped at random. For correlation and "
    "average precision, each model's similarities are ranked first, then the ranks of pairs are swapped between the "
    "models. Clusters are compared by each row's contribution to B-cubed F1; cluster numbers are never swapped. p "
    "includes the observed arrangement, (b + 1) / (m + 1), and is exact where all sign patterns were enumerated. "
    "Intervals invert the sign flips where items are few, and are bootstraps over items otherwise: BCa for means, "
    "percentiles of the recomputed metric (subsamples of the rows for V-measure), from 50 items. Dependent items are "
    "kept together."
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
    over_items = estimands & {"designs_on_tasks", "checkpoints_on_tasks"}
    has_across = bool(across) or "tasks_like_these" in estimands
    rests_on = (
        RESTS_ON_TASKS if not over_items else RESTS_ON_BOTH if "tasks_like_these" in estimands else RESTS_ON_SUITE
    )
    used = (
        (bool(primary), rests_on),
        (bool(over_items), SUITE),
        ("designs_on_tasks" in estimands, SEEDS.format(rule=SEED_RULE)),
        ("checkpoints_on_tasks" in estimands, CHECKPOINTS),
        (bool(seeds), OWN_SEEDS),
        (has_across, ACROSS),
        (bool(within), WITHIN),
    )
    paragraphs = [text for is_used, text in used if is_used]
    return [*paragraphs, PICTURES] if paragraphs else []


def family(
    primary: Sequence[Contrast],
    across: Sequence[Contrast],
    within: Sequence[Contrast],
    baselines: Sequence[Contrast] = (),
    *,
    by_category: bool = False,
) -> str:
    """Return which tests are corrected together, in words."""
    tested = [contrast for contrast in primary if contrast.p is not None]
    if not tested and not baselines:
        return "Nothing was tested."
    pairs = len({(contrast.a, contrast.b) for contrast in tested})
    categories = len({contrast.category for contrast in tested})
    together = "within each category" if by_category else "over all of them"
    text = (
        f"Primary family: {_count(len(tested), 'test')}, {_count(pairs, 'declared contrast')} in "
        f"{categories} categor{'y' if categories == 1 else 'ies'}; Holm, Benjamini-Hochberg and Benjamini-Yekutieli "
        f"correct {together}. Holm does not count tests whose smallest possible p is above the p in question (Tarone)."
    )
    separate = [
        (len(across), "signed-rank test", "over tasks like these"),
        (len(baselines), "test", "against baselines"),
    ]
    for count, noun, what in separate:
        if count:
            text += f" The {_count(count, noun)} {what} {'is' if count == 1 else 'are'} corrected separately."
    if within:
        text += (
            f" The {_count(len(within), 'test')} within single tasks are another family, exploratory and corrected "
            "separately; no verdict uses them."
        )
    return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
