"""Spearman correlation and average precision after swapping ranks between two models, for many swaps at once."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, hstack

from poolwise.stats.core.rank_metrics import Ordering, Thresholds, block_sums, ratio, running_sum
from poolwise.stats.core.resampling import Counts, FloatArray


def rank_moments(ranks: FloatArray, gold: FloatArray) -> FloatArray:
    """Return each item's part of the sum, the sum of products with ``gold`` and the sum of squares (items x 3).

    For ``doubled_ranks`` these are whole numbers, so that sums over up to 200,000 items are exact in any order.
    """
    return np.column_stack([ranks, ranks * gold, ranks**2])


def swapped_correlations(first: FloatArray, second: FloatArray, moved: FloatArray, count: int) -> FloatArray:
    """Return corr(first', gold) - corr(second', gold) after swaps, not yet divided by the gold ranks' norm.

    Args:
        first, second: the sums of ``rank_moments`` (3).
        moved: second minus first, summed over the swapped items (resamples x 3); a swap changes sums linearly.
        count: number of items.
    """

    def correlation(moments: FloatArray) -> FloatArray:
        sums, products, squares = moments.T
        return ratio(products, np.sqrt(np.maximum(squares - sums**2 / count, 0.0)))

    return correlation(first + moved) - correlation(second - moved)


class SwappedPrecision:
    """The difference of two models' average precision after swaps of ranks, prepared once for many swaps.

    The ranks of both models are sorted together, so each item has two places in the list. A coin decides which place
    belongs to which model. What the first model has above a threshold is then a constant plus a signed sum of coins;
    the second model has the rest.
    """

    def __init__(self, first: FloatArray, second: FloatArray, labels: FloatArray) -> None:
        count = len(labels)
        both = np.concatenate([labels, labels])
        thresholds = Thresholds(Ordering(-np.concatenate([first, second])), both)
        items = np.tile(np.arange(count), 2)
        # The first model owns its own places if the coin is 0, and the second model's places if it is 1.
        owned = np.concatenate([np.ones(count), np.zeros(count)])
        everyone = np.ones((count, 1), dtype=np.float32)

        def parts(part: FloatArray) -> tuple[csr_array, Counts]:
            """Return the effect of a swap, with the state without swaps as last column; and both models' total."""
            start = thresholds.gatherer(items, owned * part, count) @ everyone
            moved = hstack([thresholds.gatherer(items, (1 - 2 * owned) * part, count), csr_array(start)], format="csr")
            return moved, thresholds.gatherer(items, part, count) @ everyone

        self._moved, whole = parts(np.ones_like(both))
        self._moved_hits, self._gained = parts(both)
        self._seen, self._hits = running_sum(whole), running_sum(self._gained.copy())
        self._num_positive = max(1.0, float(labels.sum()))

    def __call__(self, coins: Counts) -> FloatArray:
        """Return AP(first') - AP(second') after the swaps.

        Args:
            coins: (items + 1) x resamples; 0 or 1 for each item, then a last row of ones.
        """
        if not len(self._seen):
            return np.zeros(coins.shape[1])
        gained = self._moved_hits @ coins
        hits, seen = running_sum(gained.copy()), running_sum(self._moved @ coins)
        rest_hits, rest_seen = self._hits - hits, self._seen - seen
        # Each model has one place of every positive item. If nothing was seen, nothing was hit: 0 / 1.
        first = np.divide(hits, np.maximum(seen, 1, out=seen), out=hits)
        second = np.divide(rest_hits, np.maximum(rest_seen, 1, out=rest_seen), out=rest_hits)
        first *= gained
        second *= self._gained - gained
        # Subtract cell by cell, so that exchanging the models changes only the sign of the result.
        first -= second
        return block_sums(first) / self._num_positive
