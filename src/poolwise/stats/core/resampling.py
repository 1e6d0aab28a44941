"""Random swaps and bootstrap counts of independent units (items, or groups of dependent items), chunked and threaded.

Resamples are drawn in batches of 64, each with its own generator. So the numbers do not depend on the size of the
chunks or the number of threads, and not on the memory or CPU of the machine.
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
"""Coins or counts, resamples x units. A unit is drawn 256 times, an overflow, with probability 1e-507."""

Counts = NDArray[np.float32]
"""Coins or counts, items x resamples: whole numbers, exact in float32 up to 2^24, at half the memory of float64."""

DRAWN_TOGETHER = 64
CHUNK_CELLS = 2_600_000
"""Items x resamples that a thread processes at once: 10 MB an array; the rank metrics hold about eight."""
WIDEST = 1_024
"""Most resamples in a chunk: enough to amortise numpy calls, few enough to stay in the CPU cache."""
MOST_THREADS = 4
"""Limits memory on large machines: 4 threads with eight arrays of 10 MB take a third of a GB."""

KEPT = 0.9
"""Share of the units in a subsample."""

EXACT_UNITS = 13
"""Most units whose signs are enumerated: 2^13 = 8,192 patterns, about as many as the Monte Carlo default draws."""


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return a generator that depends only on the seed and the names, not on earlier draws."""
    digest = hashlib.sha256("\0".join([str(seed), *names]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def units_of(group: Sequence[str], num_items: int) -> IntArray:
    """Return the unit index of each item: its group, or the item itself without groups."""
    if not group:
        return np.arange(num_items)
    return np.unique(np.asarray(group), return_inverse=True)[1].astype(np.int64)


def draw_swaps(num_units: int, rng: np.random.Generator) -> Draws:
    """Return fair 0/1 coins (64 x units)."""
    bits = np.frombuffer(rng.bytes(DRAWN_TOGETHER // 8 * num_units), dtype=np.uint8)
    return np.unpackbits(bits).reshape(DRAWN_TOGETHER, num_units)


def draw_weights(num_units: int, rng: np.random.Generator) -> Draws:
    """Return bootstrap counts (64 x units): in each row, ``num_units`` units drawn with replacement."""
    picks = rng.integers(0, num_units, size=(DRAWN_TOGETHER, num_units), dtype=np.int32)
    return np.array([np.bincount(row, minlength=num_units) for row in picks], dtype=np.uint8)


def draw_most(num_units: int, rng: np.random.Generator) -> Draws:
    """Return 0/1 weights (64 x units) that keep each unit with probability ``KEPT``; no unit is drawn twice."""
    return (rng.random((DRAWN_TOGETHER, num_units)) < KEPT).astype(np.uint8)


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
    """Return the results of ``compute`` on ``num_resamples`` draws, one row a resample.

    Args:
        num_rows: how many numbers ``compute`` holds per resample, if more than one a unit; sets the chunk size.
    """
    children = rng.spawn(-(-num_resamples // DRAWN_TOGETHER))
    step = max(1, chunk_width(max(num_units, num_rows)) // DRAWN_TOGETHER)

    def one(start: int) -> FloatArray:
        return compute(np.concatenate([draw(num_units, child) for child in children[start : start + step]]))

    return np.concatenate(in_threads(one, range(0, len(children), step)))[:num_resamples]


def enumerated(compute: Callable[[Draws], FloatArray], num_units: int, num_rows: int) -> FloatArray:
    """Return the results of ``compute`` on all 2^units swaps."""
    swaps, width = all_swaps(num_units), chunk_width(num_rows)
    return np.concatenate([compute(swaps[start : start + width]) for start in range(0, len(swaps), width)])


def is_few(num_units: int, num_resamples: int) -> bool:
    """Return whether the number of arrangements, not of resamples, limits the smallest possible p."""
    return 2.0 ** (1 - num_units) > 1 / (num_resamples + 1)


def chunk_width(num_rows: int) -> int:
    """Return the number of resamples in a chunk."""
    return max(1, min(WIDEST, CHUNK_CELLS // max(1, num_rows)))


def in_threads(compute: Callable[[int], FloatArray], starts: Sequence[int]) -> list[FloatArray]:
    """Return the results of ``compute`` in order of ``starts``; numpy and scipy release the GIL."""
    if (workers := min(num_threads(), len(starts))) <= 1:
        return [compute(start) for start in starts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(compute, starts))


def num_threads() -> int:
    """Return the number of threads: one a core, at most MOST_THREADS and OMP_NUM_THREADS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(MOST_THREADS, cores, int(asked) if asked.isdigit() else cores))


def by_item(draws: Draws, units: IntArray) -> Counts:
    """Return the draws as items x resamples; each item gets the value of its unit.

    Items are rows because the rank metrics often reorder items, which then copies whole rows.
    """
    return draws.T.astype(np.float32)[units]


def on_grid(columns: FloatArray, num_terms: int) -> FloatArray:
    """Return values rounded by column to multiples of a power of two, so that their sums are exact in float64.

    Exact sums do not depend on the order of adding, so not on the matrix library, its threads or the chunk size.
    The grid has 2^52 / ``num_terms`` steps up to the largest value: 2e11 with 20,000 items.

    Args:
        num_terms: largest sum of absolute weights in any sum to be taken.
    """
    largest = np.abs(columns).max(axis=0, initial=0.0) * max(1, num_terms)
    # No step below the smallest float: it would be 0, and the quotient NaN.
    step = np.exp2(np.maximum(np.ceil(np.log2(np.where(largest > 0, largest, 1.0))) - 52, -1074))
    return np.asarray(np.rint(columns / step) * step)


def permutation_p(observed: float, permuted: FloatArray, scale: float) -> float:
    """Return the two-sided Monte Carlo p, (b + 1) / (m + 1): in (0, 1], valid at any number of resamples.

    ``scale`` is the size of the summed terms. Sums within 1e-9 of it count as equal, so that rounding does not break
    ties of discrete scores.
    """
    reached = np.count_nonzero(np.abs(permuted) >= abs(observed) - 1e-9 * scale)
    return (int(reached) + 1) / (len(permuted) + 1)
