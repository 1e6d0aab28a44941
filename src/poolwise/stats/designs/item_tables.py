"""The table of one task: its items with the values of every entrant, aligned by item id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from poolwise.stats.core.bootstrap import mean_columns
from poolwise.stats.core.clusters import Partitions
from poolwise.stats.core.rank_metrics import Ordering, Precision
from poolwise.stats.core.resampling import FloatArray, IntArray


@dataclass(frozen=True)
class TaskTable:
    """Item values of all entrants on one task.

    ``values[name]`` is seeds x items. For clustering it is empty, and ``assignments[name]`` holds cluster numbers,
    seeds x k-means seeds x items. ``gold`` is the graded score (sts), the 0/1 label (pairs) or the label's number.
    Tables with the same ``stream`` share random draws, because tasks over the same groups are dependent.
    """

    task: str
    category: str
    stream: str
    units: IntArray
    gold: FloatArray
    values: Mapping[str, FloatArray]
    assignments: Mapping[str, IntArray]

    @property
    def names(self) -> list[str]:
        return list(self.values or self.assignments)

    @property
    def num_items(self) -> int:
        return len(self.units)

    @property
    def num_units(self) -> int:
        """Number of independent units."""
        return int(self.units.max()) + 1

    @cached_property
    def orders(self) -> Mapping[str, list[Ordering]]:
        """The values of each run, sorted once."""
        return {name: [Ordering(row) for row in rows] for name, rows in self.values.items()}

    @cached_property
    def precisions(self) -> Mapping[str, list[Precision]]:
        """The average precision of each run, prepared once."""
        return {name: [Precision(row, self.gold) for row in rows] for name, rows in self.values.items()}

    @cached_property
    def gold_order(self) -> Ordering:
        """The gold scores, sorted once."""
        return Ordering(self.gold)

    @cached_property
    def mean_columns(self) -> FloatArray:
        """The values of each run summed by unit, and the sizes of the units."""
        return mean_columns(np.concatenate(list(self.values.values())).T, self.units)

    @cached_property
    def partitions(self) -> Partitions:
        """All k-means assignments of all runs, in order, prepared once."""
        rows = [row.reshape(-1, self.num_items) for row in self.assignments.values()]
        return Partitions(self.gold.astype(np.int64), np.concatenate(rows), self.units)

    def runs_of(self, name: str) -> slice:
        """Return which columns of a resamples x runs array are the seeds of ``name``."""
        counts = [len((self.values or self.assignments)[other]) for other in self.names]
        start = sum(counts[: self.names.index(name)])
        return slice(start, start + counts[self.names.index(name)])

    def seed_means(self, runs: FloatArray) -> FloatArray:
        """Return the average over each entrant's seeds (resamples x runs -> resamples x entrants)."""
        return np.column_stack([runs[:, self.runs_of(name)].mean(axis=1) for name in self.names])
