"""The primary test where there are items: the mean difference over a pair's tasks; the sample is items and seeds.

Within each task, items are flipped (or ranks swapped) as in the test of that task. A category's difference is the
mean over its tasks, so its noise is the mean of the tasks' noise. The seed effect is added where a model varies with
the seed; models of which one checkpoint is given have none, and the statement is about these checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from poolwise.results import Contrast
from poolwise.stats.core.bootstrap import MIN_ITEMS
from poolwise.stats.core.noise import Noise, unseen_draws
from poolwise.stats.core.resampling import FloatArray, generator
from poolwise.stats.core.seed_spread import SeedNoise, SeedTable, pigeonhole, satterthwaite
from poolwise.stats.designs.contrasts import Pair
from poolwise.stats.designs.entrants import Entrant
from poolwise.stats.designs.verdict import ALPHA
from poolwise.stats.designs.within import TaskEvidence, reach_of

FEW_ITEMS: dict[str, object] = {
    "interval": None,
    "simultaneous": None,
    "interval_method": f"none below {MIN_ITEMS} independent items",
    "note": f"no interval below {MIN_ITEMS} independent items, so no verdict",
}
STEADY = "items and seeds do not vary, so a t test is not possible"


@dataclass
class ItemNoise:
    """The item noise of one pair's difference, summed task by task, so that no draws of a task are kept.

    ``null`` are permuted and ``items`` resampled differences; ``unseen`` is what items like none of these could add;
    ``runs`` are the resampled scores of both entrants' runs, None if a task has too few items for them.
    """

    null: FloatArray
    items: FloatArray
    scale: float = 0.0
    num_tasks: int = 0
    num_items: int = 0
    num_units: int = 0
    smallest_task: int = 0
    unseen: FloatArray | None = None
    runs: dict[str, FloatArray] | None = field(default_factory=dict)
    moved: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    variances: list[float] = field(default_factory=list)

    def add(self, pair: Pair, evidence: TaskEvidence, num_resamples: int, rng: np.random.Generator) -> None:
        """Add one task."""
        table, permuted, column = evidence.table, evidence.permuted, evidence.pairs.index(pair)
        # Enumerated arrangements are resampled, so that every task has the same number.
        draws = permuted.drawn(column, num_resamples, rng)
        resampled = evidence.resampled_difference(pair)
        # Resampled items vary a little less than items do, by (n - 1) / n.
        wider = np.sqrt(table.num_units / max(1, table.num_units - 1))
        items = draws if resampled is None else (resampled - evidence.difference(pair)) * wider
        self.items += items
        self.variances.append(float(items.var()))
        self.null += draws if evidence.procedure.permutes_score else items
        # Tasks with the same groups flip them together, which adds no arrangement.
        moved, earlier = permuted.moved[:, column], self.moved.get(table.stream)
        self.moved[table.stream] = moved if earlier is None else earlier | moved
        self.num_tasks += 1
        self.num_items += table.num_items
        self.num_units += table.num_units
        self.smallest_task = min(self.smallest_task or table.num_units, table.num_units)
        self.scale = max(self.scale, float(np.abs(evidence.scores).max()))
        if evidence.bootstrap is None or self.runs is None:
            self.runs = None
            return
        for name in (pair.a, pair.b):
            self.runs[name] = self.runs.get(name, 0.0) + evidence.bootstrap[:, table.runs_of(name)]

    @property
    def num_moved(self) -> int:
        """How many independent units, over all tasks, change under a flip or swap of the two models."""
        return sum(int(moved.sum()) for moved in self.moved.values())


@dataclass
class Suite:
    """The item noise of one category's pairs, each over the tasks that both models have."""

    category: str
    num_resamples: int
    seed: int
    noise: dict[Pair, ItemNoise] = field(default_factory=dict)
    missing: dict[Pair, list[str]] = field(default_factory=dict)

    def add(self, task: str, pairs: Sequence[Pair], evidence: TaskEvidence | None) -> None:
        """Add one task; a pair with a task without evidence cannot be tested over the suite."""
        for pair in pairs:
            if evidence is None:
                self.missing.setdefault(pair, []).append(task)
                continue
            found = self.noise.setdefault(pair, ItemNoise(np.zeros(self.num_resamples), np.zeros(self.num_resamples)))
            rng = generator(self.seed, "enumerated", evidence.table.stream)
            found.add(pair, evidence, self.num_resamples, rng)

    def testable(self, pair: Pair) -> ItemNoise | None:
        """Return the item noise of a pair; None if a task of the pair has no items."""
        return None if pair in self.missing else self.noise.get(pair)


@dataclass(frozen=True)
class Finding:
    """One contrast of a suite with the parts of its uncertainty, before any correction for other contrasts."""

    contrast: Contrast
    task_differences: FloatArray
    noise: Noise
    seed: SeedNoise
    others: tuple[Contrast, ...] = ()


def category_noise(noise: ItemNoise, category: str, scale: float, seed: int) -> ItemNoise:
    """Return the noise of the mean over a category's tasks, with what unseen items could add."""
    reach = reach_of(category, scale)
    # Tasks over the same groups hide the same items.
    unseen = _unseen(noise.smallest_task, len(noise.moved), reach, len(noise.items), seed, category)
    return replace(noise, null=noise.null / noise.num_tasks, items=noise.items / noise.num_tasks, unseen=unseen)


@lru_cache(maxsize=32)
def _unseen(num_units: int, num_tasks: int, reach: float, num_draws: int, seed: int, category: str) -> FloatArray:
    """The draws of all pairs over the same tasks, held once."""
    return unseen_draws(num_units, num_tasks, reach, num_draws, generator(seed, "unseen", category))


def overall_noise(parts: Sequence[ItemNoise]) -> ItemNoise:
    """Return the noise of the mean over categories, each with the same weight, from that of each category's mean."""
    count = len(parts)
    return ItemNoise(
        null=np.sum([part.null for part in parts], axis=0) / count,
        items=np.sum([part.items for part in parts], axis=0) / count,
        # What hides among items of one category does not hide in another too: the largest of the bounds.
        unseen=np.max([part.unseen for part in parts if part.unseen is not None], axis=0) / count,
        scale=max(part.scale for part in parts),
        num_tasks=sum(part.num_tasks for part in parts),
        num_items=sum(part.num_items for part in parts),
        num_units=sum(part.num_units for part in parts),
        runs=None,
        moved={name: moved for part in parts for name, moved in part.moved.items()},
    )


def find(base: Contrast, pair: Pair, noise: ItemNoise, seeds: SeedTable, differences: FloatArray, seed: int) -> Finding:
    """Return the test of one mean difference.

    Args:
        base: the difference, without a test. noise: of its mean. seeds: the means of all entrants by seed.
        differences: ``a - b`` on each task. seed: of the resampling.
    """
    spread = seeds.noise(pair.a, pair.b)
    is_still = spread.std == 0.0
    items = Noise(noise.items, spread.std, spread.degrees, noise.unseen)
    null = Noise(_oriented(noise.null, pair), spread.std, spread.degrees)
    base = base.model_copy(
        update={
            "test": "permutation of items within tasks" + ("" if is_still else ", seeds as a random factor"),
            "estimand": "checkpoints_on_tasks" if is_still else "designs_on_tasks",
            "num_items": noise.num_items,
        }
    )
    p = null.p(base.difference, noise.scale)
    update: dict[str, object] = {
        "p": p,
        "smallest_p": null.least_p(base.difference, noise.scale, noise.num_moved),
        "interval": items.interval(base.difference, 0.95, is_found=p <= ALPHA),
        "interval_method": "bootstrap over items within tasks" + ("" if is_still else ", Student's t for the seeds"),
    }
    if noise.num_units < MIN_ITEMS:
        update |= FEW_ITEMS
    others = _others(base, pair, noise, items, seeds, seed)
    return Finding(base.model_copy(update=update), differences, items, spread, others)


def seed_table(scores: Mapping[str, FloatArray], entrants: Sequence[Entrant]) -> SeedTable:
    """Return the means of the entrants at each seed.

    Args:
        scores: by entrant, the mean at each of its seeds.
    """
    return SeedTable(
        {entrant.name: scores[entrant.name] for entrant in entrants},
        {entrant.name: entrant.seeds for entrant in entrants},
        frozenset(entrant.name for entrant in entrants if entrant.is_fixed),
    )


def _others(
    base: Contrast, pair: Pair, noise: ItemNoise, items: Noise, seeds: SeedTable, seed: int
) -> tuple[Contrast, ...]:
    """Test the difference with two other treatments of the seeds: the two designs' own only, and resampled."""
    if not (seeds.has_spread(pair.a) and seeds.has_spread(pair.b)):
        return ()
    own = seeds.own(pair.a, pair.b)
    degrees = max(1, noise.num_units - noise.num_tasks)
    update: dict[str, object] = {"test": "per-seed paired differences, Satterthwaite", "note": STEADY}
    if np.hypot(items.items.std(), own.std) > 1e-9 * noise.scale:
        p, interval = satterthwaite(base.difference, float(items.items.var()), degrees, own, 0.95)
        update |= {"p": p, "interval": interval, "interval_method": "Student's t", "note": ""}
    contrasts = [base.model_copy(update=update)]
    if noise.runs is not None:
        runs = (noise.runs[pair.a] / noise.num_tasks, noise.runs[pair.b] / noise.num_tasks)
        rng = generator(seed, "seeds", base.category)
        drawn = pigeonhole(runs, (seeds.seeds[pair.a], seeds.seeds[pair.b]), rng)
        low, high = np.quantile(drawn, [0.025, 0.975])
        note = "interval too short with fewer than about six seeds" if (base.num_seeds or 0) < 6 else ""
        update = {"test": "two-way (pigeonhole) bootstrap of items and seeds", "interval": (float(low), float(high))}
        contrasts.append(base.model_copy(update={**update, "interval_method": "percentile", "note": note}))
    return tuple(contrasts)


def _oriented(draws: FloatArray, pair: Pair) -> FloatArray:
    """Return the draws in a fixed orientation, so that p does not depend on which of the pair is a."""
    return draws if pair.a < pair.b else -draws
