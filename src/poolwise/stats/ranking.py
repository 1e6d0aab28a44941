"""Spearman correlation and average precision under bootstrap weights and swapped pairs, without a loop over resamples.

In a resample the midrank of a value follows from the running sum of the weights in order of the values, so each
model is sorted once, whatever the number of resamples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poolwise.stats.resampling import FloatArray, IntArray


class Ordering:
    """One column of values sorted once: the order, and where groups of equal values end."""

    def __init__(self, values: FloatArray) -> None:
        self.order: IntArray = np.argsort(values, kind="stable")
        ordered = values[self.order]
        last: NDArray[np.bool_] = np.append(ordered[1:] != ordered[:-1], True)
        self.ends: IntArray = np.flatnonzero(last)
        self.group: IntArray = np.concatenate([[0], np.cumsum(last)[:-1]]).astype(np.int64)
        self.has_ties = len(self.ends) < len(values)

    def centred_midranks(self, weights: FloatArray) -> FloatArray:
        """Return the midranks (items in order x resamples), less the mean rank, divided by the total weight."""
        sorted_weights = weights[self.order]
        running = np.cumsum(sorted_weights, axis=0)
        total = running[-1]
        if self.has_ties:
            upper = running[self.ends]
            middle = (upper + np.vstack([np.zeros_like(total), upper[:-1]])) / 2
            ranks = middle[self.group]
        else:
            ranks = running - sorted_weights / 2
        return np.asarray(ranks / total - 0.5)


def weighted_spearman(columns: list[Ordering], gold: Ordering, weights: FloatArray) -> FloatArray:
    """Return Spearman's rho of each column with the gold scores, in each resample (resamples x columns).

    An item with weight k stands k times in the resample. A constant column has no ranks to correlate: rho 0.
    """
    gold_ranks = np.empty_like(weights)
    gold_ranks[gold.order] = gold.centred_midranks(weights)
    weighted_gold = weights * gold_ranks
    gold_spread = np.einsum("ij,ij->j", weighted_gold, gold_ranks)
    rho = np.zeros((weights.shape[1], len(columns)))
    for number, column in enumerate(columns):
        ranks = column.centred_midranks(weights)
        covariance = np.einsum("ij,ij->j", ranks, weighted_gold[column.order])
        spread = np.einsum("ij,ij,ij->j", ranks, ranks, weights[column.order])
        rho[:, number] = _ratio(covariance, np.sqrt(spread * gold_spread))
    return rho


def weighted_average_precision(columns: list[Ordering], labels: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the average precision of each column for the 0/1 labels, in each resample (resamples x columns).

    Equal similarities share one threshold. A resample without a positive pair scores 0.
    """
    result = np.zeros((weights.shape[1], len(columns)))
    hits = weights * labels[:, None]
    for number, column in enumerate(columns):
        falling = column.order[::-1]
        ends = len(labels) - 2 - np.append(-1, column.ends[:-1])[::-1]
        result[:, number] = _precision_sum(np.cumsum(hits[falling], axis=0), np.cumsum(weights[falling], axis=0), ends)
    return result


def _precision_sum(hits: FloatArray, seen: FloatArray, ends: IntArray) -> FloatArray:
    """The sum over thresholds of precision times the recall gained, from running sums read at group ends."""
    hits, seen = hits[ends], seen[ends]
    gained = np.diff(hits, axis=0, prepend=0.0)
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    return _ratio(np.einsum("ij,ij->j", gained, precision), hits[-1])


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """The quotient, and 0 where the denominator is nothing but rounding."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 1e-12)


def rank_columns(values: FloatArray) -> FloatArray:
    """Return the centred midranks of one column of values in item order, in (-0.5, 0.5)."""
    column = Ordering(values)
    ranks = np.empty(len(values))
    ranks[column.order] = column.centred_midranks(np.ones((len(values), 1)))[:, 0]
    return ranks


def swapped_correlations(first: FloatArray, second: FloatArray, gold: FloatArray, coins: FloatArray) -> FloatArray:
    """Return corr(first', gold) - corr(second', gold) where the coins swap pairs of ranks (one a column of coins).

    All three are centred ranks in item order. A swap changes sums linearly, so every resample is a matrix product.
    """
    change = second - first
    columns = np.column_stack([change, change * gold, second**2 - first**2])
    moved = coins.T @ columns
    spread = gold @ gold

    def correlation(ranks: FloatArray, sign: int) -> FloatArray:
        sums, products, squares = np.array([[ranks.sum()], [ranks @ gold], [ranks @ ranks]]) + sign * moved.T
        return _ratio(products, np.sqrt(np.maximum(squares - sums**2 / len(gold), 0.0) * spread))

    return correlation(first, 1) - correlation(second, -1)


def swapped_average_precisions(
    first: FloatArray, second: FloatArray, labels: FloatArray, coins: FloatArray
) -> FloatArray:
    """Return AP(first') - AP(second') where the coins swap pairs of ranks (one resample a column of coins).

    Both models' ranks are sorted together once; a coin then says which of an item's two places belongs to whom.
    """
    num_items = len(labels)
    both = Ordering(-np.concatenate([first, second]))
    item, is_second = both.order % num_items, both.order >= num_items
    places = np.where(is_second[:, None], coins[item], 1 - coins[item])
    hits = labels[item][:, None]
    result = np.zeros(coins.shape[1])
    for owner, sign in ((places, 1.0), (1 - places, -1.0)):
        running = np.cumsum(owner, axis=0)
        result += sign * _precision_sum(np.cumsum(owner * hits, axis=0), running, both.ends)
    return result
