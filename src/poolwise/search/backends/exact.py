"""Exact search: the dot product of every query with every vector, in blocks. The reference for all other backends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from poolwise.search.backends.base import NOTHING, Found, Searcher, Settings, Source
from poolwise.search.vectors import BLOCK_ROWS, Vectors
from poolwise.search.where import Filter

QUERY_ROWS = 256
"""Queries that are compared at a time: 8 MB of scores a block."""


def search_exact(
    vectors: Vectors, queries: Float[np.ndarray, "Q D"], k: int, rows: Int[np.ndarray, " n"] | None = None
) -> Found:
    """Return the best ``k`` rows of each query by dot product; of equal scores the lower row first.

    Args:
        rows: search only these, ascending; None for all.
    """
    parts = [_search(vectors, queries[i : i + QUERY_ROWS], k, rows) for i in range(0, len(queries), QUERY_ROWS)]
    if not parts:
        return Found(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
    return Found(np.concatenate([part.rows for part in parts]), np.concatenate([part.scores for part in parts]))


def _search(vectors: Vectors, queries: Any, k: int, rows: Any) -> Found:
    best = Found(np.full((len(queries), k), NOTHING), np.full((len(queries), k), -np.inf, np.float32))
    if rows is None:
        for start, block in vectors.blocks():
            best = _merged(best, queries @ block.T, np.arange(start, start + len(block)))
    else:
        for start in range(0, len(rows), BLOCK_ROWS):
            part = rows[start : start + BLOCK_ROWS]
            best = _merged(best, queries @ vectors.take(part).T, part)
    return best


def _merged(best: Found, scores: Float[np.ndarray, "Q n"], rows: Int[np.ndarray, " n"]) -> Found:
    """Return the best of those found before and those of a block, whose rows are higher."""
    k = best.rows.shape[1]
    chosen = [_largest(line, k) for line in scores]
    found_rows, found_scores = best.rows.copy(), best.scores.copy()
    for query, places in enumerate(chosen):
        both = np.concatenate([best.scores[query], scores[query, places]])
        order = np.argsort(-both, kind="stable")[:k]
        found_scores[query] = both[order]
        found_rows[query] = np.concatenate([best.rows[query], rows[places]])[order]
    return Found(found_rows, found_scores)


def _largest(scores: Float[np.ndarray, " n"], k: int) -> Int[np.ndarray, " m"]:
    """Return the places of the k largest scores, ascending; of equal ones at the end the lower places."""
    if len(scores) <= k:
        return np.arange(len(scores))
    bound = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > bound)
    equal = np.flatnonzero(scores == bound)[: k - len(above)]
    return np.sort(np.concatenate([above, equal]))


@dataclass(frozen=True)
class _ExactSearcher:
    vectors: Vectors

    def search(self, queries: Float[np.ndarray, "Q D"], k: int, matching: Filter | None) -> Found:
        return search_exact(self.vectors, queries, k, None if matching is None else matching.rows)

    def close(self) -> None:
        """Nothing is open beside the vectors."""


class Exact:
    """Compares every query with every vector; it needs nothing beside the vectors."""

    name = "exact"
    is_exact = True
    settings = Settings

    def build(self, source: Source, folder: Path, settings: Settings) -> None:
        """Write nothing: the vectors are all that it needs."""

    def open(self, source: Source, folder: Path, settings: Settings) -> Searcher:
        """Return the search over the stored vectors."""
        return _ExactSearcher(source.vectors)

    def discard(self, name: str, settings: Settings) -> None:
        """Nothing is outside the folder."""
