"""Spearman correlation and average precision where pairs of ranks swap between two models, for many swaps at once."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, hstack

from poolwise.stats.core.rank_metrics import Ordering, Thresholds, block_sums, ratio, running_sum
from poolwise.stats.core.resampling import Counts, FloatArray


def rank_moments(ranks: FloatArray, gold: FloatArray) -> FloatArray:
    """Return each item's share in the sum, the sum of products with ``gold`` and the sum of squares (items x 3).

    Of ``doubled_ranks`` all are whole numbers, so that sums over up to 200,000 items are exact in any order.
    """
    return np.column_stack([ranks, ranks * gold, ranks**2])


def swapped_correlations(first: FloatArray, second: FloatArray, moved: FloatArray, count: int) -> FloatArray:
    """Return corr(first', gold) - corr(second', gold), less the gold ranks' spread, where pairs of ranks swap.

    Args:
        first, second: the sums of ``rank_moments`` (3).
        moved: of the swapped items, the second's less the first's (resamples x 3): a swap changes sums linearly.
        count: how many items.
    """

    def correlation(moments: FloatArray) -> FloatArray:
        sums, products, squares = moments.T
        return ratio(products, np.sqrt(np.maximum(squares - sums**2 / count, 0.0)))

    return correlation(first + moved) - correlation(second - moved)


class SwappedPrecision:
    """The difference of two models' average precisions where pairs of ranks swap, prepared once.

    Both models' ranks are sorted together. An item has two places in that list; a coin says which of them belongs
    to whom, so what the first has above a threshold is a constant plus a signed sum of coins, and the second has
    the rest.
    """

    def __init__(self, first: FloatArray, second: FloatArray, labels: FloatArray) -> None:
        count = len(labels)
        both = np.concatenate([labels, labels])
        thresholds = Thresholds(Ordering(-np.concatenate([first, second])), both)
        items = np.tile(np.arange(count), 2)
        # The first model owns its own places where the coin is 0, the second model's where it is 1.
        owned = np.concatenate([np.ones(count), np.zeros(count)])
        everyone = np.ones((count, 1), dtype=np.float32)

        def parts(part: FloatArray) -> tuple[csr_array, Counts]:
            """What a swap moves, with what is there without one in a last column; and the places of both models."""
            start = thresholds.gatherer(items, owned * part, count) @ everyone
            moved = hstack([thresholds.gatherer(items, (1 - 2 * owned) * part, count), csr_array(start)], format="csr")
            return moved, thresholds.gatherer(items, part, count) @ everyone

        self._moved, whole = parts(np.ones_like(both))
        self._moved_hits, self._gained = parts(both)
        self._seen, self._hits = running_sum(whole), running_sum(self._gained.copy())
        self._num_positive = max(1.0, float(labels.sum()))

    def __call__(self, coins: Counts) -> FloatArray:
        """Return AP(first') - AP(second').

        Args:
            coins: (items + 1) x resamples; 0 or 1 for every item, and a last row of ones.
        """
        if not len(self._seen):
            return np.zeros(coins.shape[1])
        gained = self._moved_hits @ coins
        hits, seen = running_sum(gained.copy()), running_sum(self._moved @ coins)
        rest_hits, rest_seen = self._hits - hits, self._seen - seen
        # Both have all positives, one place of each. Nothing seen means nothing hit: 0 / 1.
        first = np.divide(hits, np.maximum(seen, 1, out=seen), out=hits)
        second = np.divide(rest_hits, np.maximum(rest_seen, 1, out=rest_seen), out=rest_hits)
        first *= gained
        second *= self._gained - gained
        # Subtracted cell by cell, in which exchanging the models changes the sign of the result and nothing else.
        first -= second
        return block_sums(first) / self._num_positive
