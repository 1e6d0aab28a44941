"""The methods and the family of tests in plain words, for every output alike."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.records import Contrast

ACROSS = (
    "Across tasks (a statement about tasks like these): per task, a design's score is its mean over seeds; the "
    "differences of a category's tasks are tested with the two-sided Wilcoxon signed-rank test. Its null "
    "distribution is enumerated with the ties at hand; tasks without a difference are dropped and counted. With few "
    "tasks p has a floor, which stands beside it: three tasks can give no less than 0.25. From ten tasks on the "
    "interval is a percentile bootstrap over tasks, below that the Hodges-Lehmann interval where there is one."
)
WITHIN = (
    "Within a task (a statement about these checkpoints, not about designs): the items are the sample. Per-item "
    "scores are averaged over seeds and the signs of their paired differences flipped at random; for correlation and "
    "average precision each model's similarities are ranked first and pairs then swapped between the models; "
    "clusters are compared by each row's contribution to B-cubed F1, and their numbers are never swapped. p counts "
    "the arrangement at hand, (b + 1) / (m + 1), and is exact where all sign patterns could be listed. Intervals are percentile "
    "bootstraps over items, the metric recomputed each time; dependent items move together; none is given below ten."
)
SEEDS = (
    "Seeds: the spread over training seeds is shown as a standard deviation. It enters no p of the tests across "
    "tasks, whose only sample is the tasks."
)
VERDICT = (
    "Verdict: better or worse only where Holm's corrected p of the primary family is below 0.05; otherwise not "
    "decided, which is not the same as equal."
)


def methods(has_within: bool) -> list[str]:
    """Return one paragraph a test that was used."""
    return [ACROSS, *([WITHIN] if has_within else []), SEEDS, VERDICT]


def family(contrasts: Sequence[Contrast], task_contrasts: Sequence[Contrast]) -> str:
    """Return what the corrections run over, in words."""
    tested = [contrast for contrast in contrasts if contrast.p is not None]
    pairs = {(contrast.a, contrast.b) for contrast in tested}
    categories = {contrast.category for contrast in tested}
    text = (
        f"Primary family: {len(tested)} tests, the {len(pairs)} declared contrasts in {len(categories)} "
        f"categor{'y' if len(categories) == 1 else 'ies'}; Holm and Benjamini-Hochberg run over all of them."
    )
    if task_contrasts:
        text += (
            f" The {len(task_contrasts)} tests within single tasks are a second family, exploratory and corrected "
            "apart; no verdict rests on them."
        )
    return text
