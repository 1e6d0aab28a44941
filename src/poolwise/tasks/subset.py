"""Seeded subsets of items: the same rows for the same seed and task, on every machine."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def task_rng(seed: int, name: str) -> np.random.Generator:
    """Return a random generator that depends only on the seed and the task's name."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def random_rows(num_rows: int, size: int, rng: np.random.Generator) -> list[int]:
    """Return ``size`` distinct row numbers, ascending; all rows if there are not more."""
    return sorted(rng.permutation(num_rows)[:size].tolist())


def stratified_rows(labels: Sequence[Hashable], size: int, rng: np.random.Generator) -> list[int]:
    """Return ``size`` row numbers, ascending, in which each label keeps about its share of all rows.

    The n-th of a label's c rows (in random order) gets the position (n + 1/2) / c, and the rows with the lowest
    positions are taken: each label gets its share, rounded. The first rows of the two most frequent labels are taken
    before all others, because no metric is defined for a single label.

    Law: two labels in, two labels out, for every ``size`` >= 2.
    """
    counts = Counter(labels)
    frequent = {label for label, _ in counts.most_common(2)}
    seen: Counter[Hashable] = Counter()
    standing: list[tuple[float, int, int]] = []
    for order, row in enumerate(rng.permutation(len(labels)).tolist()):
        label = labels[row]
        first = seen[label] == 0 and label in frequent
        standing.append((-1.0 if first else (seen[label] + 0.5) / counts[label], order, row))
        seen[label] += 1
    return sorted(row for _, _, row in sorted(standing)[:size])


def take(values: Sequence[T], rows: Sequence[int]) -> tuple[T, ...]:
    """Return the values at ``rows``; empty if there are no values (a missing column)."""
    return tuple(values[row] for row in rows) if values else ()
