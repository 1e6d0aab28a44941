"""Where two models disagree about the pairs of some texts: pairs whose rank by similarity differs most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

MOST_PAIRS = 5
"""Pairs that are shown."""


@dataclass(frozen=True)
class Pair:
    """Two texts by number from 0, their similarity in each model, and its rank among all pairs: 1 is the most similar.

    Equal similarities share the mean of their ranks.
    """

    first: int
    second: int
    similarity: tuple[float, float]
    rank: tuple[float, float]


@dataclass(frozen=True)
class Disagreement:
    """The pairs whose rank differs most, most first, and Spearman's correlation of all ranks.

    Args:
        agreement: 1 for the same order, -1 for the opposite one; None where a model gives all pairs the same rank.
    """

    pairs: tuple[Pair, ...]
    num_pairs: int
    agreement: float | None


def cosine_matrix(vectors: Float[np.ndarray, "B D"]) -> Float[np.ndarray, "B B"]:
    """Return the cosine similarity of every two embeddings; that of an embedding of length 0 is 0."""
    wide = vectors.astype(np.float64)
    unit = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    found: Float[np.ndarray, "B B"] = np.clip(unit @ unit.T, -1.0, 1.0)
    return found


def compare_pairs(one: Float[np.ndarray, "B B"], other: Float[np.ndarray, "B B"]) -> Disagreement:
    """Return where two similarity matrices of the same texts disagree.

    Ranks are compared, not similarities: one model may give all pairs .9 and more, and another none.
    """
    first, second = np.triu_indices(len(one), k=1)
    # Rounding must not decide the order of pairs that are equally similar.
    values = np.round([one[first, second], other[first, second]], 6)
    ranks = np.array([rankdata(-row) for row in values]) if len(first) else np.empty((2, 0))
    moved = np.abs(ranks[0] - ranks[1])
    order = np.lexsort((-np.abs(values[0] - values[1]), -moved))
    pairs = tuple(
        Pair(int(first[i]), int(second[i]), (values[0, i].item(), values[1, i].item()), tuple(ranks[:, i].tolist()))
        for i in order[:MOST_PAIRS]
        if moved[i] > 0
    )
    return Disagreement(pairs, len(first), _correlation(ranks))


def _correlation(ranks: Float[np.ndarray, "2 P"]) -> float | None:
    if ranks.shape[1] < 2 or not ranks.std(axis=1).all():
        return None
    return float(np.corrcoef(ranks)[0, 1])
