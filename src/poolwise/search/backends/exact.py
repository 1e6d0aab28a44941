"""Exact search: the dot product of every query with every vector, in blocks. Other backends are compared with it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from poolwise.search.backends.base import NOTHING, Found, Searcher, Settings, Source
from poolwise.search.backends.faiss_files import faiss, is_installed
from poolwise.search.vectors import BLOCK_ROWS, Vectors
from poolwise.search.where import Filter

QUERY_ROWS = 256
"""Queries that are compared at a time."""
SCORES = 1 << 21
"""Scores that are held at a time: 8 MB."""
GROUPS = 64
"""Parts of a block whose largest scores bound the best ones from below."""


def search_exact(
    vectors: Vectors, queries: Float[np.ndarray, "Q D"], k: int, rows: Int[np.ndarray, " n"] | None = None
) -> Found:
    """Return the best ``k`` rows of each query by dot product; of equal scores the lower row first.

    Args:
        rows: search only these, ascending; None for all.
    Law: the results are those of sorting all scores (the reference implementation is in ``tests/parity``).
    """
    plain = vectors.plain if rows is None else None
    if plain is not None and len(queries) and k < len(plain) and (knn := find_knn()) is not None:
        return _searched_by_faiss(vectors, plain, queries, k, knn)
    return search_blocks(vectors, queries, k, rows)


@cache
def find_knn() -> Any | None:
    """Return faiss's exact search of a matrix, if it may be used.

    For a single query it takes half the time of numpy's product, since it reads the matrix faster: 6 and 13 ms for
    100,000 rows of 384 numbers on one core with AVX-512.
    """
    # On macOS a process with two OpenMP runtimes, that of torch and that of faiss, is ended.
    if sys.platform == "darwin" or not is_installed():
        return None
    return partial(faiss().knn, metric=faiss().METRIC_INNER_PRODUCT)


def _searched_by_faiss(
    vectors: Vectors, plain: Float[np.ndarray, "N D"], queries: Float[np.ndarray, "Q D"], k: int, knn: Any
) -> Found:
    """Return what ``search_blocks`` does, by faiss where it does not matter which of equal scores it takes."""
    scores, rows = knn(np.ascontiguousarray(queries, np.float32), plain, k + 1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    found = Found(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))
    # The best k end within equal scores, of which faiss takes any.
    tied = np.flatnonzero(scores[:, k] == scores[:, k - 1])
    if len(tied):
        again = search_blocks(vectors, queries[tied], k)
        found.rows[tied], found.scores[tied] = again.rows, again.scores
    return found


def search_blocks(
    vectors: Vectors, queries: Float[np.ndarray, "Q D"], k: int, rows: Int[np.ndarray, " n"] | None = None
) -> Found:
    """Return what ``search_exact`` does, by numpy in blocks."""
    found_rows = np.full((len(queries), k), NOTHING)
    found_scores = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(queries), QUERY_ROWS):
        some = slice(start, start + QUERY_ROWS)
        _search(vectors, queries[some], rows, found_rows[some], found_scores[some])
    return Found(found_rows, found_scores)


def _search(
    vectors: Vectors,
    queries: Float[np.ndarray, "Q D"],
    rows: Int[np.ndarray, " n"] | None,
    best_rows: Int[np.ndarray, "Q k"],
    best_scores: Float[np.ndarray, "Q k"],
) -> None:
    """Write the best rows of all blocks, and their scores."""
    k = best_rows.shape[1]
    size = vectors.block_rows(SCORES // len(queries)) if rows is None else BLOCK_ROWS
    for start in range(0, len(vectors) if rows is None else len(rows), size):
        part = slice(start, start + size)
        some = None if rows is None else rows[part]
        for query, scores in enumerate(vectors.scores(queries, part if some is None else some)):
            places = best_places(scores, k)
            both = np.concatenate([best_scores[query], scores[places]])
            numbers = np.concatenate([best_rows[query], places + start if some is None else some[places]])
            # Rows of earlier blocks are lower, and stay first among equal scores.
            order = np.argsort(-both, kind="stable")[:k]
            best_rows[query], best_scores[query] = numbers[order], both[order]


def best_places(scores: Float[np.ndarray, " n"], k: int) -> Int[np.ndarray, " m"]:
    """Return the places of the ``min(k, n)`` largest scores, best first; of equal ones the lower places first.

    At least k scores reach the k-th largest of the groups' maxima, so that only those have to be sorted.
    """
    size = len(scores) // GROUPS
    maxima = scores[: size * GROUPS].reshape(GROUPS, size).max(axis=0) if size >= 2 * k else scores
    if len(maxima) > k:
        places = np.flatnonzero(scores >= np.partition(maxima, len(maxima) - k)[len(maxima) - k])
    else:
        places = np.arange(len(scores))
    return places[np.argsort(-scores[places], kind="stable")[:k]]


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
