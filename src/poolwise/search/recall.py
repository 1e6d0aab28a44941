"""Recall: how many of the nearest rows a search finds, measured against exact search."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from poolwise.search.backends import NOTHING, Found, search_exact
from poolwise.search.index import Index
from poolwise.search.index_record import Recall

NUM_QUERIES = 200
"""The standard error of a recall of 0.95 at 10 is then below 0.01."""
_SLACK = 1e-5
"""Of scores of the same vectors, summed in another order."""


def sample_rows(num_rows: int, count: int, seed: int = 0) -> Int[np.ndarray, " n"]:
    """Return the numbers of some rows, ascending, the same for each call."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(num_rows, size=min(count, num_rows), replace=False))


def recall_of(index: Index, k: int, queries: Float[np.ndarray, "Q D"] | None = None) -> Recall:
    """Return the recall at k of an index.

    A row counts as found if its score is at least that of the k-th of exact search, so that equal vectors may stand for
    one another.

    Args:
        queries: encoded, as ``Index.encode`` returns them; None takes up to 200 rows of the index as queries, each of
            which is searched without itself.
    """
    if queries is not None:
        k = min(k, len(index))
        values = recalls(index.find(queries, k), search_exact(index.vectors, queries, k))
        return Recall(k=k, value=float(values.mean()), num_queries=len(values), queries="given")
    own = sample_rows(len(index), NUM_QUERIES)
    k = max(min(k, len(index) - 1), 1)
    vectors = index.vectors.take(own)
    depth = min(k + 1, len(index))
    found, exact = index.find(vectors, depth), search_exact(index.vectors, vectors, depth)
    values = recalls(_without(found, own, k), _without(exact, own, k))
    return Recall(k=k, value=float(values.mean()), num_queries=len(values), queries="documents")


def recalls(found: Found, exact: Found) -> Float[np.ndarray, " Q"]:
    """Return the recall of each query: the share of its exact results that were found, 0 to 1."""
    bound = exact.scores[:, -1:] - _SLACK * np.maximum(np.abs(exact.scores[:, -1:]), 1)
    hits: Float[np.ndarray, " Q"] = ((found.rows != NOTHING) & (found.scores >= bound)).mean(axis=1)
    return hits


def _without(found: Found, own: Int[np.ndarray, " Q"], k: int) -> Found:
    """Return results without the row that is the query itself; the last one goes where that was not found."""
    is_other = found.rows != own[:, None]
    is_other[is_other.all(axis=1), -1] = found.rows.shape[1] == 1
    places = np.argsort(~is_other, axis=1, kind="stable")[:, :k]
    rows, scores = np.take_along_axis(found.rows, places, 1), np.take_along_axis(found.scores, places, 1)
    return Found(rows, scores)
