"""Tests within one task: statements about these checkpoints, with the items as the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from poolwise.records import Contrast, ItemScores
from poolwise.stats.alignment import build_table, why_no_items
from poolwise.stats.bootstrap import MIN_ITEMS, num_units, percentile_interval
from poolwise.stats.contrasts import Pair
from poolwise.stats.entrants import Field
from poolwise.stats.metrics import PROCEDURES, Permuted, Procedure, TaskTable
from poolwise.stats.resampling import FloatArray, generator
from poolwise.stats.signflip import Permutation

SCORE_GAP = 1e-3
"""A metric recomputed from the items may differ from the stored score by ties and rounding, not by more."""


@dataclass(frozen=True)
class TaskEvidence:
    """What the items of one task say: resampled scores (resamples x entrants) and permuted differences."""

    table: TaskTable
    procedure: Procedure
    scores: FloatArray
    bootstrap: FloatArray | None
    permuted: Permuted

    def resampled_difference(self, pair: Pair) -> FloatArray | None:
        """Return the bootstrap differences of a pair; None below ten independent items."""
        if self.bootstrap is None:
            return None
        a, b = self.table.names.index(pair.a), self.table.names.index(pair.b)
        return self.bootstrap[:, a] - self.bootstrap[:, b]


def examine(
    field: Field, task: str, pairs: Sequence[Pair], num_resamples: int, seed: int
) -> tuple[TaskEvidence | None, list[str]]:
    """Return the evidence of one task, or None, and notes on what could not be tested and why."""
    records = {entrant.name: entrant.records(task) for entrant in field.entrants}
    if reason := why_no_items(records):
        return None, [f"{task}: no test within the task, because {reason}"]
    table = build_table(records)
    procedure = PROCEDURES[table.category]
    scores = procedure.scores(table)
    enough = num_units(table.units) >= MIN_ITEMS
    # Draws are named by the task, so that neither the order of the runs nor another task changes them.
    evidence = TaskEvidence(
        table,
        procedure,
        scores,
        procedure.bootstrap(table, num_resamples, generator(seed, "bootstrap", task)) if enough else None,
        procedure.permute(table, pairs, num_resamples, generator(seed, "permute", task)),
    )
    return evidence, _score_notes(table, scores, records)


def _score_notes(table: TaskTable, scores: FloatArray, records: dict[str, list[ItemScores]]) -> list[str]:
    stored = {name: float(np.mean([record.score for record in rows])) for name, rows in records.items()}
    return [
        f"{table.task}: {name} is stored as {stored[name]:.4f}, its items give {score:.4f}; tests within the task "
        "speak about the latter"
        for name, score in zip(table.names, scores, strict=True)
        if abs(score - stored[name]) > SCORE_GAP * max(1.0, abs(stored[name]))
    ]


def task_contrasts(evidence: TaskEvidence, pairs: Sequence[Pair]) -> list[Contrast]:
    """Return one contrast a pair: difference of the scores, percentile interval, permutation p."""
    return [_contrast(evidence, pair, test) for pair, test in zip(pairs, evidence.permuted.tests, strict=True)]


def _contrast(evidence: TaskEvidence, pair: Pair, test: Permutation) -> Contrast:
    table = evidence.table
    resampled = evidence.resampled_difference(pair)
    a, b = table.names.index(pair.a), table.names.index(pair.b)
    kind = "exact" if test.is_exact else f"{len(evidence.permuted.permuted)} permutations"
    return Contrast(
        category=table.category,
        task=table.task,
        a=pair.a,
        b=pair.b,
        reason=list(pair.reasons),
        difference=float(evidence.scores[a] - evidence.scores[b]),
        interval=None if resampled is None else percentile_interval(resampled, 0.95),
        test=f"{evidence.procedure.test} ({kind})",
        estimand="checkpoints",
        p=test.p,
        smallest_p=test.smallest_p,
        num_items=table.num_items,
        note="; ".join(_notes(table, pair, evidence.permuted.observed)),
    )


def _notes(table: TaskTable, pair: Pair, observed: FloatArray) -> list[str]:
    units = num_units(table.units)
    notes = [f"{units} independent groups of items"] if units < table.num_items else []
    if units < MIN_ITEMS:
        notes.append(f"no interval below {MIN_ITEMS} independent items")
    if table.category == "clustering":
        notes.append("difference and interval are V-measure, p is B-cubed F1")
    return notes
