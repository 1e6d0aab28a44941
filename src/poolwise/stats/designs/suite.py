"""The primary test of a study: the mean difference over these tasks; the sample is items and seeds.

Within each task, items are flipped (or ranks swapped) as in the test of that task. A category's difference is the
mean over its tasks, so its noise is the mean of the tasks' noise. The seed effect is added to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from poolwise.results import Contrast
from poolwise.stats.core.bootstrap import MIN_ITEMS
from poolwise.stats.core.noise import Noise
from poolwise.stats.core.resampling import FloatArray, generator
from poolwise.stats.core.seed_spread import SeedNoise, SeedTable, pigeonhole, satterthwaite
from poolwise.stats.designs.across import ONE_SEED, seed_differences, task_differences, task_scores
from poolwise.stats.designs.contrasts import Pair
from poolwise.stats.designs.entrants import Field
from poolwise.stats.designs.verdict import ALPHA, decide
from poolwise.stats.designs.within import TaskEvidence

FEW_ITEMS: dict[str, object] = {
    "interval": None,
    "simultaneous": None,
    "interval_method": f"none below {MIN_ITEMS} independent items",
    "verdict": "not decided",
    "note": f"no interval below {MIN_ITEMS} independent items, so no verdict",
}
STEADY = "items and seeds do not vary, so a t test is not possible"


@dataclass
class Suite:
    """The noise of one category's mean differences, summed task by task, so that no draws of a task are kept."""

    category: str
    pairs: Sequence[Pair]
    num_resamples: int
    seed: int
    num_tasks: int = 0
    num_items: int = 0
    num_units: int = 0
    scale: float = 0.0
    missing: list[str] = field(default_factory=list)
    moved: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    null_sums: FloatArray = field(init=False)
    item_sums: FloatArray = field(init=False)
    run_sums: dict[str, FloatArray] | None = field(init=False)

    def __post_init__(self) -> None:
        self.null_sums = np.zeros((self.num_resamples, len(self.pairs)))
        self.item_sums = np.zeros((self.num_resamples, len(self.pairs)))
        self.run_sums = {}

    def add(self, task: str, evidence: TaskEvidence | None) -> None:
        """Add one task; if it has no evidence, the suite cannot be tested."""
        if evidence is None:
            self.missing.append(task)
            return
        table, permuted = evidence.table, evidence.permuted
        # Enumerated arrangements are resampled, so that every task has the same number.
        draws = permuted.drawn(self.num_resamples, generator(self.seed, "enumerated", table.stream))
        for column, pair in enumerate(self.pairs):
            resampled = evidence.resampled_difference(pair)
            items = draws[:, column] if resampled is None else resampled - evidence.difference(pair)
            self.item_sums[:, column] += items
            self.null_sums[:, column] += draws[:, column] if evidence.procedure.permutes_score else items
        # Tasks with the same groups flip them together, which adds no arrangement.
        earlier = self.moved.get(table.stream)
        self.moved[table.stream] = permuted.moved if earlier is None else earlier | permuted.moved
        self.num_tasks += 1
        self.num_items += table.num_items
        self.num_units += table.num_units
        self.scale = max(self.scale, float(np.abs(evidence.scores).max()))
        self._add_runs(evidence)

    def num_moved(self, column: int) -> int:
        """Return how many independent units, over all tasks, change under a flip or swap of a pair's two models."""
        return sum(int(moved[:, column].sum()) for moved in self.moved.values())

    def _add_runs(self, evidence: TaskEvidence) -> None:
        if evidence.bootstrap is None or self.run_sums is None:
            self.run_sums = None
            return
        for name in evidence.table.names:
            columns = evidence.bootstrap[:, evidence.table.runs_of(name)]
            self.run_sums[name] = self.run_sums.get(name, 0.0) + columns


@dataclass(frozen=True)
class Finding:
    """One contrast of a suite with the parts of its uncertainty; ``items`` and ``seed`` are None without a test."""

    contrast: Contrast
    task_differences: FloatArray
    items: Noise | None = None
    seed: SeedNoise | None = None
    others: tuple[Contrast, ...] = ()


def seed_table(everyone: Field, tasks: Sequence[str]) -> SeedTable:
    """Return the category mean of every entrant at each seed."""
    return SeedTable(
        {entrant.name: task_scores(entrant, tasks).mean(axis=1) for entrant in everyone.entrants},
        {entrant.name: entrant.seeds for entrant in everyone.entrants},
        frozenset(entrant.name for entrant in everyone.entrants if entrant.is_fixed),
    )


def suite_findings(everyone: Field, suite: Suite, num_family: int, equivalence: float) -> list[Finding]:
    """Return the primary test of every pair over the tasks of one category.

    Args:
        num_family: number of contrasts for which the simultaneous intervals hold together.
        equivalence: half the width of the region of practical equality, in units of the score.
    """
    tasks = everyone.tasks[suite.category]
    seeds = seed_table(everyone, tasks)
    findings = []
    for column, pair in enumerate(suite.pairs):
        base = _base(everyone, suite, pair, tasks, equivalence)
        seed = seeds.noise(pair.a, pair.b)
        differences = task_differences(everyone, pair, tasks)
        if seed is None:
            untested = base.model_copy(update={"note": ONE_SEED, "verdict": "not decided"})
            findings.append(Finding(untested, differences))
            continue
        noise = Noise(suite.item_sums[:, column] / suite.num_tasks, seed.std, seed.degrees)
        null = Noise(_oriented(suite.null_sums[:, column], pair) / suite.num_tasks, seed.std, seed.degrees)
        least = null.least_p(base.difference, suite.scale, suite.num_moved(column))
        contrast = _tested(base, noise, null.p(base.difference, suite.scale), least, num_family)
        if suite.num_units < MIN_ITEMS:
            contrast = contrast.model_copy(update=FEW_ITEMS)
        findings.append(Finding(contrast, differences, noise, seed, _others(base, suite, pair, noise, seeds)))
    return findings


def _oriented(draws: FloatArray, pair: Pair) -> FloatArray:
    """Return the draws in a fixed orientation, so that p does not depend on which of the pair is a."""
    return draws if pair.a < pair.b else -draws


def _base(everyone: Field, suite: Suite, pair: Pair, tasks: Sequence[str], equivalence: float) -> Contrast:
    a, b = everyone[pair.a], everyone[pair.b]
    by_seed = seed_differences(a, b, tasks)
    return Contrast(
        category=suite.category,
        a=pair.a,
        b=pair.b,
        reason=list(pair.reasons),
        difference=float(task_scores(a, tasks).mean() - task_scores(b, tasks).mean()),
        test="permutation of items within tasks, seeds as a random factor",
        estimand="designs_on_tasks",
        num_items=suite.num_items,
        num_tasks=len(tasks),
        num_seeds=min(len(a.runs), len(b.runs)),
        by_seed=by_seed,
        seed_spread=float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None,
        equivalence=equivalence,
    )


def _tested(base: Contrast, noise: Noise, p: float, least: float, num_family: int) -> Contrast:
    simultaneous = noise.interval(base.difference, 1 - ALPHA / num_family)
    verdict, remark = decide(simultaneous, base.equivalence or 0.0)
    return base.model_copy(
        update={
            "p": p,
            "smallest_p": least,
            "interval": noise.interval(base.difference, 0.95),
            "interval_method": "bootstrap over items within tasks, with Student's t for the seeds",
            "simultaneous": simultaneous,
            "verdict": verdict,
            "note": remark,
        }
    )


def _others(base: Contrast, suite: Suite, pair: Pair, noise: Noise, seeds: SeedTable) -> tuple[Contrast, ...]:
    """Test the same difference with two other treatments of the seeds: the two designs' own only, and resampled."""
    own = seeds.own(pair.a, pair.b)
    degrees = max(1, suite.num_units - suite.num_tasks)
    update: dict[str, object] = {"test": "per-seed paired differences, Satterthwaite", "note": STEADY}
    if np.hypot(noise.items.std(), own.std) > 1e-9 * suite.scale:
        p, interval = satterthwaite(base.difference, float(noise.items.var()), degrees, own, 0.95)
        update |= {"p": p, "interval": interval, "interval_method": "Student's t", "note": ""}
    contrasts = [base.model_copy(update=update)]
    if suite.run_sums is not None:
        runs = (suite.run_sums[pair.a] / suite.num_tasks, suite.run_sums[pair.b] / suite.num_tasks)
        drawn = pigeonhole(
            runs, (seeds.seeds[pair.a], seeds.seeds[pair.b]), generator(suite.seed, "seeds", suite.category)
        )
        low, high = np.quantile(drawn, [0.025, 0.975])
        note = "interval too short with fewer than about six seeds" if (base.num_seeds or 0) < 6 else ""
        update = {"test": "two-way (pigeonhole) bootstrap of items and seeds", "interval": (float(low), float(high))}
        contrasts.append(base.model_copy(update={**update, "interval_method": "percentile", "note": note}))
    return tuple(contrasts)
