"""Tests within one task: statements about these checkpoints; the sample is the items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from poolwise.records import ItemScores
from poolwise.results import Contrast
from poolwise.stats.core.bootstrap import MIN_ITEMS, bca_interval, percentile_interval
from poolwise.stats.core.inversion import flip_intervals
from poolwise.stats.core.noise import unseen_bound
from poolwise.stats.core.resampling import FloatArray, generator
from poolwise.stats.core.signflip import Permutation, unit_sums
from poolwise.stats.designs.alignment import build_table, why_no_items
from poolwise.stats.designs.contrasts import Pair
from poolwise.stats.designs.entrants import Field
from poolwise.stats.designs.item_tables import TaskTable
from poolwise.stats.designs.procedures import PROCEDURES, Permuted, Procedure
from poolwise.stats.designs.verdict import ALPHA

SCORE_GAP = 1e-3
"""Largest expected gap between a metric recomputed from items and the stored score (ties, rounding)."""

MANY_ITEMS = 50
"""From so many independent items on, the interval of a mean is a bootstrap; with fewer it would be too short."""

MIN_RANKED_ITEMS = 50
"""Least independent items for an interval of a metric that is no mean: with twenty pairs, 90 of 100 intervals at 95% of
average precision held the difference (`metric_intervals` of the levels)."""

ENOUGH = 20
"""Permutations that must reach the observed difference until its p is precise enough (Besag and Clifford, 1991)."""
MOST_CELLS = 1_000_000_000
"""Most items x further permutations: 2 s of one CPU for means, 10 s for each contrast in average precision."""


RANGES = {"sts": 2.0}
"""How far apart two scores can be: correlations run from -1 to 1, all other metrics from 0 to 1."""


def reach_of(category: str, scale: float) -> float:
    """Return how far apart two scores of a category can be; ``scale`` is 100 for percentages, else 1."""
    return RANGES.get(category, 1.0) * scale


@dataclass(frozen=True)
class TaskEvidence:
    """The evidence of one task's items: resampled scores (resamples x runs) and permuted differences (x pairs)."""

    table: TaskTable
    pairs: Sequence[Pair]
    procedure: Procedure
    scores: FloatArray
    bootstrap: FloatArray | None
    permuted: Permuted
    reach: float

    def difference(self, pair: Pair) -> float:
        """Return the difference of the two scores recomputed from the items."""
        a, b = self.table.names.index(pair.a), self.table.names.index(pair.b)
        return float(self.scores[a] - self.scores[b])

    def resampled_difference(self, pair: Pair) -> FloatArray | None:
        """Return the bootstrap differences of a pair; None with fewer than ten independent items."""
        if self.bootstrap is None:
            return None
        a, b = (self.bootstrap[:, self.table.runs_of(name)].mean(axis=1) for name in (pair.a, pair.b))
        return np.asarray(a - b)


def examine(
    field: Field, task: str, pairs: Sequence[Pair], num_resamples: int, seed: int, most_resamples: int = 0
) -> tuple[TaskEvidence | None, list[str]]:
    """Return the evidence of one task, or None, and notes on what was not tested and why.

    Args:
        most_resamples: permutations for pairs whose p is close to the smallest that ``num_resamples`` can give.
    """
    named = {name for pair in pairs for name in (pair.a, pair.b)}
    records = {e.name: e.records(task) for e in (*field.entrants, *field.anchors) if e.name in named}
    if reason := why_no_items(records):
        return None, [f"no test within the task, because {reason}: {task}"]
    table = build_table(records)
    procedure = PROCEDURES[table.category]
    # Draws are named after the task, so that they depend neither on the order of runs nor on other tasks.
    draws = {what: generator(seed, what, table.stream) for what in ("bootstrap", "permute")}
    evidence = TaskEvidence(
        table,
        pairs,
        procedure,
        procedure.scores(table),
        procedure.bootstrap(table, num_resamples, draws["bootstrap"]) if table.num_units >= MIN_ITEMS else None,
        procedure.permute(table, pairs, num_resamples, draws["permute"]),
        reach_of(table.category, field.scale),
    )
    more = min(most_resamples, num_resamples + MOST_CELLS // table.num_items) - num_resamples
    if more > 0:
        _refine(evidence, pairs, more, generator(seed, "more", table.stream))
    return evidence, _score_notes(table, evidence.scores, records)


def _refine(evidence: TaskEvidence, pairs: Sequence[Pair], more: int, rng: np.random.Generator) -> None:
    """Add permutations, in place, where p is not precise enough yet.

    The tests within tasks are a large exploratory family (27 tasks x 18 contrasts need 194,400 resamples,
    20 m / alpha), and most of its p are far from the corrected level. So permutations are added only where they can
    matter:

    - p is precise enough once ENOUGH permutations have reached the difference: (b + 1) / (m + 1) then has a
      standard error of a fifth of p, and more permutations do not bring a p of 0.002 below 0.05 / m.
    - With all m permutations, p cannot be below 1 / (m + 1). If Hoeffding's bound shows that p over all
      arrangements is below that, the larger 1 / (m + 1) is used without further permutations.

    Both keep P(p <= x) at most x under the null. The first does so at every x: a p below
    (ENOUGH + 1) / (first m + 1) can only come from the second stage; for a p above that, from either stage, the p of
    the first stage is as small. The second does so up to a hundredth of 1 / (m + 1): there the bound is ten times the
    exact p.
    """
    tests = evidence.permuted.tests
    open_ends: dict[int, int] = {}
    for number, test in enumerate(tests):
        total = test.num_drawn + more
        reached, smallest = _reached(test.p, test), 1 / (total + 1)
        if test.is_exact or reached >= ENOUGH:
            continue
        if test.bound <= smallest:
            tests[number] = replace(test, p=smallest, smallest_p=smallest, num_drawn=total, is_bounded=True)
        else:
            open_ends[number] = reached
    if not open_ends:
        return
    again = evidence.procedure.permute(evidence.table, [pairs[number] for number in open_ends], more, rng)
    for (number, reached), test in zip(open_ends.items(), again.tests, strict=True):
        first = tests[number]
        total = first.num_drawn + test.num_drawn
        p = (reached + _reached(test.p, test) + 1) / (total + 1)
        least = (_reached(first.smallest_p, first) + _reached(test.smallest_p, test) + 1) / (total + 1)
        tests[number] = Permutation(p, least, False, total)


def _reached(p: float, test: Permutation) -> int:
    """Return b of p = (b + 1) / (m + 1): how many drawn arrangements reached the difference."""
    return round(p * (test.num_drawn + 1)) - 1


def _score_notes(table: TaskTable, scores: FloatArray, records: dict[str, list[ItemScores]]) -> list[str]:
    stored = {name: float(np.mean([record.score for record in rows])) for name, rows in records.items()}
    return [
        f"{table.task}: the stored score of {name} is {stored[name]:.4f}, but its items give {score:.4f}; tests "
        "within the task use the latter"
        for name, score in zip(table.names, scores, strict=True)
        if abs(score - stored[name]) > SCORE_GAP * max(1.0, abs(stored[name]))
    ]


def task_contrasts(evidence: TaskEvidence) -> list[Contrast]:
    """Return one contrast for each pair: difference of the scores, bootstrap interval, permutation p."""
    few = _inverted(evidence)
    return [
        _contrast(evidence, pair, test, few[column] if few else None)
        for column, (pair, test) in enumerate(zip(evidence.pairs, evidence.permuted.tests, strict=True))
    ]


def _contrast(
    evidence: TaskEvidence, pair: Pair, test: Permutation, found: tuple[tuple[float, float] | None, str] | None
) -> Contrast:
    table = evidence.table
    interval, method = found or _interval(evidence, pair)
    difference = evidence.difference(pair)
    if interval is not None and test.p > ALPHA:
        hidden = unseen_bound(table.num_units, evidence.reach, 0.95)
        interval = min(interval[0], difference - hidden), max(interval[1], difference + hidden)
    return Contrast(
        category=table.category,
        task=table.task,
        a=pair.a,
        b=pair.b,
        reason=list(pair.reasons),
        difference=difference,
        interval=interval,
        interval_method=method,
        test=f"{evidence.procedure.test} ({_kind(test, evidence.procedure)})",
        estimand="checkpoints",
        p=test.p,
        smallest_p=test.smallest_p,
        num_items=table.num_items,
        note="; ".join(_notes(evidence)),
    )


def _kind(test: Permutation, procedure: Procedure) -> str:
    if test.is_exact:
        return "exact" if procedure.permutes_score else "all sign patterns"
    count = f"{test.num_drawn} permutations"
    return f"less than one of {count} by Hoeffding's bound" if test.is_bounded else count


def _inverted(evidence: TaskEvidence) -> list[tuple[tuple[float, float] | None, str]] | None:
    """Return the interval of each pair by inverting sign flips, if the score is a mean of few items; else None."""
    table = evidence.table
    if not evidence.procedure.is_mean or table.num_units >= MANY_ITEMS:
        return None
    means = {name: rows.mean(axis=0) for name, rows in table.values.items()}
    found = flip_intervals(np.column_stack([means[p.a] - means[p.b] for p in evidence.pairs]), table.units, 0.95)
    if found is None:
        return [(None, f"none at 95% from {table.num_units} independent items") for _ in evidence.pairs]
    return [((float(low), float(high)), "sign flips of items, inverted") for low, high in zip(*found, strict=True)]


def _interval(evidence: TaskEvidence, pair: Pair) -> tuple[tuple[float, float] | None, str]:
    resampled, table = evidence.resampled_difference(pair), evidence.table
    if resampled is None or (table.num_units < MIN_RANKED_ITEMS and not evidence.procedure.is_mean):
        return None, f"none below {MIN_ITEMS if evidence.procedure.is_mean else MIN_RANKED_ITEMS} independent items"
    if not evidence.procedure.is_mean:
        how = "percentile bootstrap over items" if evidence.procedure.permutes_score else "subsamples of the rows"
        return percentile_interval(resampled, 0.95), how
    difference = evidence.difference(pair)
    items = table.values[pair.a].mean(axis=0) - table.values[pair.b].mean(axis=0) - difference
    influence = unit_sums(items[:, None], table.units)[:, 0]
    return bca_interval(resampled, difference, influence, 0.95), "BCa bootstrap over items"


def _notes(evidence: TaskEvidence) -> list[str]:
    table = evidence.table
    notes = [f"{table.num_units} independent groups of items"] if table.num_units < table.num_items else []
    if not evidence.procedure.permutes_score:
        notes.append("difference and interval are of V-measure, p is of B-cubed F1")
    return notes
