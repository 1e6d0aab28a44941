"""Hybrid search: rankings by vectors and by words (BM25), fused by reciprocal rank."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from poolwise.errors import ConfigError
from poolwise.lexical import index_words, word_scores
from poolwise.search.index_record import WORDS
from poolwise.search.stored_rows import TEXT, StoredRows
from poolwise.search.where import Filter

RRF = 60
"""The constant of reciprocal rank fusion, as in its paper."""
DEPTH = 100
"""Rows of each ranking that are fused; k if that is more."""


class Words:
    """BM25 of the stored texts, memory-mapped."""

    def __init__(self, folder: Path, num_rows: int) -> None:
        import bm25s

        self._num_rows = num_rows
        self._scorer = bm25s.BM25.load(folder / WORDS, mmap=True, show_progress=False)

    def best(self, query: str, depth: int, matching: Filter | None) -> Int[np.ndarray, " n"]:
        """Return the best rows for a query, best first; rows that share no word with it are left out."""
        scores = word_scores(self._scorer, query, self._num_rows)
        if matching is not None:
            scores = np.where(matching.is_match, scores, 0)
        rows = np.flatnonzero(scores)
        if len(rows) > depth:
            rows = rows[scores[rows] >= np.partition(scores[rows], len(rows) - depth)[len(rows) - depth]]
        return rows[np.argsort(-scores[rows], kind="stable")][:depth]


def save_words(rows: StoredRows, folder: Path) -> None:
    """Write the BM25 of stored texts below an index's folder.

    Raises: ConfigError where no texts are stored, or they have no words; OSError for a full disk.
    """
    if TEXT not in rows.columns:
        raise ConfigError("--hybrid with a corpus without texts", hint="encode it again with --keep-text")
    try:
        scorer: Any = index_words(rows.table[TEXT].to_pylist())
    except ValueError as error:
        raise ConfigError(
            f"--hybrid: none of {len(rows):,} stored texts has a word that BM25 counts",
            "wanted words beside English stop words",
            "leave --hybrid out",
        ) from error
    try:
        scorer.save(folder / WORDS, show_progress=False)
    except OSError as error:
        # numpy's error for a full disk does not say that it is full.
        raise OSError(error.errno or errno.ENOSPC, error.strerror or "No space left on device") from error


def fuse(rankings: Sequence[Int[np.ndarray, " n"]], k: int) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Return the best k rows of several rankings, and their scores: the sum of 1 / (60 + rank), ranks from 1.

    Of equal scores the row that an earlier ranking has higher comes first.

    Source: Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet", SIGIR 2009.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking.tolist(), start=1):
            scores[row] = scores.get(row, 0.0) + 1 / (RRF + rank)
    best = sorted(scores, key=lambda row: -scores[row])[:k]
    return np.array(best, np.int64), np.array([scores[row] for row in best], np.float32)
