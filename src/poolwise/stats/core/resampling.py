"""Random swaps and bootstrap counts of independent units (items, or groups of dependent ones), in chunks and threads.

Resamples are drawn 64 at a time, each batch with a generator of its own. Neither how many batches a chunk holds nor
how many threads work on the chunks, hence neither the memory nor the processor of a machine, changes a number.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Draws = NDArray[np.uint8]
"""Coins or counts, resamples x units; that a unit is drawn 256 times has a probability of 1e-507."""

Counts = NDArray[np.float32]
"""The same for items x resamples: whole numbers, of which float32 holds all up to 2^24 exactly, at half the memory."""

DRAWN_TOGETHER = 64
CHUNK_CELLS = 2_600_000
"""Items x resamples worked on at once by a thread: 10 MB an array, of which the rank metrics hold about eight."""
WIDEST = 1_024
"""Resamples in a chunk: enough for a numpy call to cost little, few enough for a chunk to stay in the cache."""
MOST_THREADS = 4
"""Bounds the memory on large machines: 4 threads with eight arrays of 10 MB are a third of a GB."""

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


def draw_swaps(num_units: int, rng: np.random.Generator) -> Draws:
    """Return 64 x units fair 0/1 coins."""
    bits = np.frombuffer(rng.bytes(DRAWN_TOGETHER // 8 * num_units), dtype=np.uint8)
    return np.unpackbits(bits).reshape(DRAWN_TOGETHER, num_units)


def draw_weights(num_units: int, rng: np.random.Generator) -> Draws:
    """Return 64 x units bootstrap counts: as many units as there are, drawn with replacement."""
    picks = rng.integers(0, num_units, size=(DRAWN_TOGETHER, num_units), dtype=np.int32)
    return np.array([np.bincount(row, minlength=num_units) for row in picks], dtype=np.uint8)


def all_swaps(num_units: int) -> Draws:
    """Return every 0/1 vector over the units (2^units x units)."""
    codes = np.arange(2**num_units)
    return ((codes[:, None] >> np.arange(num_units)) & 1).astype(np.uint8)


def resampled(
    compute: Callable[[Draws], FloatArray],
    draw: Callable[[int, np.random.Generator], Draws],
    num_units: int,
    num_resamples: int,
    rng: np.random.Generator,
    num_rows: int = 0,
) -> FloatArray:
    """Return ``compute`` of ``num_resamples`` draws (resamples x whatever it gives for each).

    Args:
        num_rows: how many numbers ``compute`` holds for each resample, if more than one a unit; sizes the chunks.
    """
    children = rng.spawn(-(-num_resamples // DRAWN_TOGETHER))
    step = max(1, chunk_width(max(num_units, num_rows)) // DRAWN_TOGETHER)

    def one(start: int) -> FloatArray:
        return compute(np.concatenate([draw(num_units, child) for child in children[start : start + step]]))

    return np.concatenate(in_threads(one, range(0, len(children), step)))[:num_resamples]


def enumerated(compute: Callable[[Draws], FloatArray], num_units: int, num_rows: int) -> FloatArray:
    """Return ``compute`` of all 2^units swaps."""
    swaps, width = all_swaps(num_units), chunk_width(num_rows)
    return np.concatenate([compute(swaps[start : start + width]) for start in range(0, len(swaps), width)])


def is_few(num_units: int, num_resamples: int) -> bool:
    """Return whether units have so few arrangements that these, not the resamples, set the least possible p."""
    return 2.0 ** (1 - num_units) > 1 / (num_resamples + 1)


def chunk_width(num_rows: int) -> int:
    """Return how many resamples a chunk holds."""
    return max(1, min(WIDEST, CHUNK_CELLS // max(1, num_rows)))


def in_threads(compute: Callable[[int], FloatArray], starts: Sequence[int]) -> list[FloatArray]:
    """Return ``compute`` of every start, in their order; numpy and scipy let other threads run meanwhile."""
    if (workers := min(num_threads(), len(starts))) <= 1:
        return [compute(start) for start in starts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(compute, starts))


def num_threads() -> int:
    """Return how many threads to use: one a core, at most what OMP_NUM_THREADS says, as numpy's own libraries do."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(MOST_THREADS, cores, int(asked) if asked.isdigit() else cores))


def by_item(draws: Draws, units: IntArray) -> Counts:
    """Return the draws as items x resamples; the items of a unit have what it has.

    One row an item: picking rows in another order, which the rank metrics do all the time, then copies whole rows.
    """
    return draws.T.astype(np.float32)[units]


def on_grid(columns: FloatArray, num_terms: int) -> FloatArray:
    """Return values rounded to multiples of a power of two, by column, such that sums are exact in float64.

    Exact sums do not depend on their order, hence not on the matrix library, its threads or the size of a chunk.
    The grid is 2^52 / ``num_terms`` steps for the largest value: 2e11 with 20,000 items.

    Args:
        num_terms: the sum of the absolute weights of any sum to be taken.
    """
    largest = np.abs(columns).max(axis=0, initial=0.0) * max(1, num_terms)
    # No step below the smallest number there is: it would be 0, and the quotient no number.
    step = np.exp2(np.maximum(np.ceil(np.log2(np.where(largest > 0, largest, 1.0))) - 52, -1074))
    return np.asarray(np.rint(columns / step) * step)


def permutation_p(observed: float, permuted: FloatArray, scale: float) -> float:
    """Return the two-sided Monte Carlo p, (b + 1) / (m + 1): in (0, 1], valid at any number of resamples.

    ``scale`` is the size of the terms that were summed; sums within 1e-9 of it count as equal, so that float
    noise does not break the ties of discrete scores.
    """
    reached = np.count_nonzero(np.abs(permuted) >= abs(observed) - 1e-9 * scale)
    return (int(reached) + 1) / (len(permuted) + 1)
