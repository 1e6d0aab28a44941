"""Trainings that seem to have failed: their models are worse than the base that they started from."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean

from poolwise.results import Results
from poolwise.wording import listed

UNTUNED = "untuned"


def failed_trainings(results: Results) -> list[tuple[str, int]]:
    """Return design and seed of each training whose model is below the untuned base in every category."""
    category = {task.task: task.category for task in results.tasks}
    found: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in results.scores:
        if row.task in category:
            found[row.name, row.seed][category[row.task]].append(row.score)
    before = {c: mean(scores) for (name, _), row in found.items() if name == UNTUNED for c, scores in row.items()}
    trained = {info.design for info in results.designs}
    return [
        key
        for key, row in found.items()
        if before and key[0] in trained and all(mean(scores) < before.get(c, -1) for c, scores in row.items())
    ]


def training_warnings(results: Results) -> list[str]:
    """Warnings on trainings that seem to have failed: one lost seed makes a design look bad, and its spread large."""
    failed = failed_trainings(results)
    if not failed:
        return []
    named = listed([f"{design}, seed {seed}" for design, seed in failed])
    return [
        f"Training seems to have failed: {named} is below the untuned base in every category. The mean of such a "
        "design says little about it. Look at its loss, and try a lower train.learning_rate or a larger "
        "train.warmup_ratio."
    ]
