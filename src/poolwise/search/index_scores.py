"""Scores of an index: recall against exact search, nDCG, and latency, for each of several settings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from poolwise.errors import DataError, collect
from poolwise.search.backends import Found, search_exact
from poolwise.search.index import Index, open_index
from poolwise.search.recall import NUM_QUERIES, recall_of, sample_rows
from poolwise.search.stored_rows import ID
from poolwise.storage.qrels import iter_judgements

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

NDCG_DEPTH = 10
DOCUMENT = "document"
"""The column of chunks that names their document."""
MIN_TIMINGS = 200
"""Searches that are timed; queries are repeated if they are fewer. The 99th percentile then rests on two."""
_WARM = 3
_CHUNKS = 10
"""Times more rows are fetched where rows are chunks, since a document counts once."""
Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one search for one encoded query, one after the other: its percentiles."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class IndexScores:
    """The scores of an index with some settings.

    Args:
        recall: at ``k``, against exact search over the same vectors.
        ndcg: at 10, mean over the judged queries; None without judgements. ``exact_ndcg`` is that of exact search.
        num_judged: queries with a relevant document.
    """

    settings: Mapping[str, Any]
    k: int
    recall: float
    num_queries: int
    latency: Latency
    ndcg: float | None = None
    exact_ndcg: float | None = None
    num_judged: int = 0


def score_index(
    path: str | Path,
    *,
    queries: Sequence[tuple[str, str]] | None = None,
    qrels: Path | None = None,
    k: int = 10,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    model: str | Path | SentenceTransformer | None = None,
    device: str | None = None,
) -> list[IndexScores]:
    """Return the scores of an index for every combination of settings. All its files are compared with their checksums.

    Args:
        queries: (id, text) of each; None takes 200 rows of the index, each without itself.
        qrels: relevance judgements of the queries, in the format of TREC or BEIR.
        sweep: values of settings of a search, such as ``{"ef_search": [32, 64, 128]}``.
    Raises: DataError for an index that is damaged, judgements that cannot be read, or that name no query or no document
        of it; ConfigError as ``open_index`` and ``Index.search``.
    """
    judged = None
    if qrels is not None:
        if queries is None:
            raise DataError(f"--qrels {qrels} without --queries", "wanted the queries that are judged")
        judged = load_qrels(qrels)
    names = list(sweep or {})
    scores: list[IndexScores] = []
    vectors = None
    for values in product(*(sweep or {}).values()):
        settings = dict(zip(names, values, strict=True))
        with closing(open_index(path, model=model, device=device, settings=settings, check=not scores)) as index:
            if vectors is None and queries is not None:
                vectors = index.encode([text for _, text in queries])
            scores.append(_scored(index, settings, k, queries, vectors, judged, qrels))
    return scores


def load_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Return the grades by query and document. Raises: DataError that lists what cannot be read."""
    problems: list[str] = []
    found: dict[str, dict[str, int]] = {}
    for judgement in iter_judgements(path, problems):
        found.setdefault(judgement.query, {})[judgement.document] = judgement.grade
    collect(problems, DataError, "qrels")
    return found


def _scored(
    index: Index,
    settings: Mapping[str, Any],
    k: int,
    queries: Sequence[tuple[str, str]] | None,
    vectors: Any,
    judged: Qrels | None,
    qrels: Path | None,
) -> IndexScores:
    recall = recall_of(index, k, vectors)
    asked = vectors if vectors is not None else index.vectors.take(sample_rows(len(index), NUM_QUERIES))
    plain = IndexScores(settings, recall.k, recall.value, recall.num_queries, _latency(index, asked, recall.k))
    if judged is None or queries is None:
        return plain
    ids = [name for name, _ in queries]
    _require_judged(index, ids, judged, qrels)
    depth = min(NDCG_DEPTH * (_CHUNKS if DOCUMENT in index.rows.columns else 1), len(index))
    found, exact = index.find(vectors, depth), search_exact(index.vectors, vectors, depth)
    ndcg = [mean_ndcg(_documents(index, results), ids, judged) for results in (found, exact)]
    return IndexScores(**{**vars(plain), "ndcg": ndcg[0][0], "exact_ndcg": ndcg[1][0], "num_judged": ndcg[0][1]})


def mean_ndcg(ranked: Sequence[Sequence[str]], ids: Sequence[str], judged: Qrels) -> tuple[float, int]:
    """Return nDCG@10, mean over the queries that have a relevant document, and how many these are.

    The gain of a document is its grade, as trec_eval has it.
    """
    values = []
    for name, documents in zip(ids, ranked, strict=True):
        grades = judged.get(name, {})
        best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:NDCG_DEPTH]
        if best:
            gains = [max(grades.get(document, 0), 0) for document in documents[:NDCG_DEPTH]]
            values.append(_discounted(gains) / _discounted(best))
    return float(np.mean(values)), len(values)


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / float(np.log2(rank + 1)) for rank, gain in enumerate(gains, start=1))


def _documents(index: Index, found: Found) -> list[list[str]]:
    """Return the documents of each query, best first; of a document's chunks the best one counts."""
    column = DOCUMENT if DOCUMENT in index.rows.columns else ID
    return [list(dict.fromkeys(index.rows.column(column, rows))) for rows in found.rows]


def _require_judged(index: Index, ids: Sequence[str], judged: Qrels, qrels: Path | None) -> None:
    """Raise DataError where no query has a relevant document, or none of these is in the index."""
    relevant = {document for name in ids for document, grade in judged.get(name, {}).items() if grade > 0}
    if not relevant:
        raise DataError(
            f"{qrels} names no relevant document for any of {len(ids)} queries, such as {ids[0]!r}",
            f"wanted the ids of the queries; it has {next(iter(judged), 'none')!r}",
        )
    known = set(index.rows.table[DOCUMENT if DOCUMENT in index.rows.columns else ID].to_pylist())
    if not relevant & known:
        raise DataError(
            f"none of {len(relevant)} relevant documents of {qrels} is in the index, such as {min(relevant)!r}",
            f"wanted the ids of its rows, such as {min(known)!r}",
        )


def _latency(index: Index, vectors: Float[np.ndarray, "Q D"], k: int) -> Latency:
    for query in vectors[:_WARM]:
        index.find(query[None], k)
    times = []
    for number in range(max(MIN_TIMINGS, len(vectors))):
        query = vectors[number % len(vectors)]
        start = time.perf_counter()
        index.find(query[None], k)
        times.append(1000 * (time.perf_counter() - start))
    return Latency(*(float(value) for value in np.percentile(times, [50, 90, 99])))
