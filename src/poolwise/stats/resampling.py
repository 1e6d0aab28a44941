"""Random signs, swaps and bootstrap weights over items, in chunks, whole groups at a time.

Arrays have one row an item and one column a resample: picking rows in another order, which the rank metrics do
all the time, then copies whole rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Counts = NDArray[np.float32]
"""Weights and coins: whole numbers, of which float32 holds all up to 2^24 exactly, at half the memory."""

CHUNK_CELLS = 4_000_000
"""Items x resamples held at once: 16 MB, so that a chunk with its temporaries stays far below 1 GB, and wide enough
that a numpy call per row of items costs little."""

EXACT_UNITS = 13
"""Signs are enumerated up to 2^13 = 8,192 of them, about as many as the Monte Carlo default draws."""


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return a generator that depends on the seed and the names only, never on what was drawn before it."""
    digest = hashlib.sha256("\0".join([str(seed), *names]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def units_of(group: Sequence[str], num_items: int) -> IntArray:
    """Return the number of the dependent unit of each item: its group, or itself where there are no groups."""
    if not group:
        return np.arange(num_items)
    return np.unique(np.asarray(group), return_inverse=True)[1].astype(np.int64)


def chunk_sizes(num_items: int, num_resamples: int) -> list[int]:
    """Return how many resamples each chunk holds; the sizes do not depend on the number of models."""
    size = max(1, min(num_resamples, CHUNK_CELLS // max(1, num_items)))
    return [min(size, num_resamples - start) for start in range(0, num_resamples, size)]


def iter_swaps(units: IntArray, num_resamples: int, rng: np.random.Generator) -> Iterator[Counts]:
    """Yield chunks (items x resamples) of fair 0/1 coins; the items of a unit share their coin."""
    num_units = int(units.max()) + 1
    for size in chunk_sizes(len(units), num_resamples):
        bits = np.frombuffer(rng.bytes((num_units * size + 7) // 8), dtype=np.uint8)
        coins = np.unpackbits(bits, count=num_units * size).reshape(num_units, size)
        yield coins[units].astype(np.float32)


def all_swaps(num_units: int) -> Counts:
    """Return every 0/1 vector over the units, one a column (units x 2^units)."""
    codes = np.arange(2**num_units)
    return ((codes[None, :] >> np.arange(num_units)[:, None]) & 1).astype(np.float32)


def iter_weights(units: IntArray, num_resamples: int, rng: np.random.Generator) -> Iterator[Counts]:
    """Yield chunks (items x resamples) of bootstrap counts: units are drawn with replacement, with all their items."""
    num_units = int(units.max()) + 1
    for size in chunk_sizes(len(units), num_resamples):
        drawn = rng.integers(0, num_units, size=(size, num_units), dtype=np.int32)
        counts = np.empty((size, num_units), dtype=np.float32)
        for row, picks in zip(counts, drawn, strict=True):
            row[:] = np.bincount(picks, minlength=num_units)
        yield np.ascontiguousarray(counts.T)[units]


def permutation_p(observed: float, permuted: FloatArray, scale: float) -> float:
    """Return the two-sided Monte Carlo p, (b + 1) / (m + 1): in (0, 1], valid at any number of resamples.

    ``scale`` is the size of the terms that were summed; sums within 1e-9 of it count as equal, so that float
    noise does not break the ties of discrete scores.
    """
    reached = np.count_nonzero(np.abs(permuted) >= abs(observed) - 1e-9 * scale)
    return (int(reached) + 1) / (len(permuted) + 1)
