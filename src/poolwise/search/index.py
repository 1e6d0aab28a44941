"""``Index``: searches the embeddings of a corpus."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from poolwise.errors import ConfigError, DataError, PoolwiseError
from poolwise.search.backends import NOTHING, Found, Source, build_settings, find_backend, search_exact
from poolwise.search.hybrid import DEPTH, Words, fuse
from poolwise.search.index_record import BACKEND, FULL, IndexRecord, load_index_record
from poolwise.search.query_encoder import QueryEncoder
from poolwise.search.replaced import present_index
from poolwise.search.rerank import RERANK_DEPTH, Reranker, load_reranker, sort_texts
from poolwise.search.stored_rows import ID, TEXT, StoredRows
from poolwise.search.vectors import Vectors, unit
from poolwise.search.where import Filter, Where, conditions_of, find_matching
from poolwise.storage.fingerprints import hash_texts

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)
Queries = str | Sequence[str] | Float[np.ndarray, "Q D"]
FEW_ROWS = 10_000
"""So few matching rows are compared one by one: that is exact, and an approximate search would miss most of them."""
_FILTERS = 16
"""Filters whose rows are remembered."""


@dataclass(frozen=True)
class Hit:
    """One row that was found.

    Args:
        score: cosine similarity or dot product with the query; of hybrid search the sum of reciprocal ranks, and of
            reranking the cross-encoder's number.
        text: as it was encoded; None where the corpus stores no texts.
        fields: stored fields as texts; None for one that the row lacks.
    """

    id: str
    score: float
    text: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


class Index:
    """An index that is open for searches: ``open_index`` returns it. It may be used by several threads.

    Args:
        path: its folder.

    ``vectors`` are those with which rows are scored: the full ones if it has any, else those that are searched.

    Example:

        >>> import poolwise
        >>> model = poolwise.build_model("mean+causal", "poolwise/nano")
        >>> done = poolwise.encode_corpus(model, "my-suite/retrieval/toy-search", "embeddings", keep_text=True)
        >>> with poolwise.build_index("embeddings", "index", model=model) as index:
        ...     hits = index.search(["how do I read a file"], k=3)
        >>> len(hits), len(hits[0])
        (1, 3)
    """

    def __init__(self, path: Path, record: IndexRecord, encoder: QueryEncoder, settings: Mapping[str, Any]) -> None:
        self.path, self.record = path, record
        self._encoder = encoder
        self._backend = find_backend(record.backend)
        self.settings = _changed(build_settings(self._backend, record.settings), settings, record.backend)
        searched = Vectors(path, record.dtype, record.dim)
        self.vectors = searched if record.rescore is None else Vectors(path / FULL, record.rescore.dtype, record.dim)
        self._is_exact = self._backend.is_exact and record.rescore is None
        self.rows = StoredRows(path)
        if not len(self.rows) == len(searched) == len(self.vectors) == record.num_rows:
            self.rows.close()
            raise DataError(
                f"{path} has {len(self.rows):,} rows and {len(self.vectors):,} vectors",
                f"wanted {record.num_rows:,} of each",
                f"build the index again: poolwise index CORPUS --out {path}",
            )
        source = Source(record.name, record.fingerprint, searched, self.rows, record.similarity)
        self._searcher = self._backend.open(source, path / BACKEND, self.settings)
        self._filters: dict[str, Filter] = {}
        self._loaded: tuple[str, Reranker] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.record.num_rows

    @cached_property
    def ids_fingerprint(self) -> str:
        """A hash of the ids of its rows: indexes of one corpus have the same, in whatever order."""
        import pyarrow.compute as pc

        ids = self.rows.table[ID]
        return hash_texts(ids.take(pc.sort_indices(ids)).to_pylist())

    def search(
        self,
        queries: Queries,
        k: int = 10,
        *,
        where: Where | None = None,
        hybrid: bool = False,
        rerank: str | Path | Reranker | None = None,
        rerank_depth: int = RERANK_DEPTH,
    ) -> list[list[Hit]]:
        """Return the best rows of each query, best first: k of them, or all that match if they are fewer.

        Args:
            queries: texts, encoded by the model of the corpus with its prompt for queries; or their vectors.
            where: conditions on stored fields, all of which must hold, such as ``{"lang": "en", "year": {">=": 2020}}``
                or ``["lang=en", "year>=2020"]``.
            hybrid: fuse this ranking with that of BM25 by reciprocal rank; the index must be built for it.
            rerank: a cross-encoder that sorts the best ``rerank_depth`` rows again: a folder, a hub id, or loaded.
            rerank_depth: at least k are read.
        Raises: DataError for empty queries, and vectors of another width or that are not finite; ConfigError for
            another model than that of the corpus, a field that is not stored, a k below 1, and hybrid search or
            reranking without what they need; ModelError where a model cannot be loaded.
        """
        if (hybrid or rerank is not None) and isinstance(queries, np.ndarray):
            raise ConfigError("hybrid search or reranking of vectors", "wanted queries that are texts")
        if hybrid and not self.record.has_words:
            raise ConfigError(f"{self.path} has no index of words", hint="build it again: poolwise index --hybrid")
        if rerank is not None and not self.record.keeps_text:
            raise ConfigError(f"{self.path} stores no texts to rerank", hint="poolwise encode --keep-text, then index")
        matching = self.matching(where)
        vectors = self.encode(queries)
        texts = [queries] if isinstance(queries, str) else list(queries)
        self._say_if_fewer(k, matching)
        wanted = k if rerank is None else max(k, rerank_depth)
        found = self._fused(texts, vectors, wanted, matching) if hybrid else self.find(vectors, wanted, matching)
        hits = [self._hits(rows, scores) for rows, scores in zip(found.rows, found.scores, strict=True)]
        if rerank is not None:
            model = self._reranker(rerank)
            hits = [_reranked(model, text, of_query) for text, of_query in zip(texts, hits, strict=True)]
        return [of_query[:k] for of_query in hits]

    def encode(self, queries: Queries) -> Float[np.ndarray, "Q D"]:
        """Return the vectors of queries as they are compared: of length 1 for cosine. Errors: ``search``."""
        if isinstance(queries, np.ndarray):
            vectors = np.atleast_2d(queries).astype(np.float32)
            if vectors.ndim != 2 or vectors.shape[1] != self.record.dim:
                raise DataError(
                    f"the queries have the shape {queries.shape}",
                    f"wanted vectors of {self.record.dim} numbers, as {self.path} has",
                    "encode them with the model of the corpus",
                )
            if not np.isfinite(vectors).all():
                raise DataError("the queries have numbers that are not finite")
        else:
            texts = [queries] if isinstance(queries, str) else list(queries)
            vectors = self._encoder.encode(texts) if texts else np.empty((0, self.record.dim), np.float32)
        return unit(vectors) if self.record.similarity == "cosine" else vectors

    def matching(self, where: Where | None) -> Filter | None:
        """Return the rows that meet conditions; None for no conditions. Errors: ``search``."""
        if not where:
            return None
        conditions = conditions_of(where)
        key = repr(conditions)  # True and 1 are equal, but not the same condition
        found = self._filters.get(key)
        if found is None:
            found = find_matching(self.rows, conditions)
            if len(self._filters) >= _FILTERS:
                self._filters = {}
            self._filters[key] = found
        return found

    def find(self, queries: Float[np.ndarray, "Q D"], k: int, matching: Filter | None = None) -> Found:
        """Return the row numbers and scores of the best ``min(k, matching rows)`` of each encoded query."""
        if k < 1:
            raise ConfigError(f"k is {k}", "wanted 1 or more")
        available = len(self) if matching is None else len(matching.rows)
        wanted = min(k, available)
        if wanted == 0:
            return Found(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32))
        if matching is not None and (self._is_exact or available <= FEW_ROWS):
            return search_exact(self.vectors, queries, wanted, matching.rows)
        num_candidates = min(wanted * self.settings.oversample, available)
        found = self._searcher.search(queries, num_candidates, matching)
        if not self._is_exact:
            found = _rescored(self.vectors, queries, found)
            found = self._completed(queries, found, wanted, matching)
        return Found(found.rows[:, :wanted], found.scores[:, :wanted])

    def _say_if_fewer(self, k: int, matching: Filter | None) -> None:
        available = len(self) if matching is None else len(matching.rows)
        if k > available:
            of = "rows" if matching is None else "rows that match"
            logger.warning("k is %d, but the index has %d %s: all are returned", k, available, of)

    def _fused(self, texts: Sequence[str], vectors: Any, k: int, matching: Filter | None) -> Found:
        """Return the best rows by vectors and words; as many as ``find`` returns."""
        depth = max(k, DEPTH)
        near = self.find(vectors, depth, matching)
        fused = [
            fuse([rows, self._words.best(text, depth, matching)], min(k, len(rows)))
            for text, rows in zip(texts, near.rows, strict=True)
        ]
        width = min(k, near.rows.shape[1])
        rows = np.array([rows for rows, _ in fused], np.int64).reshape(len(texts), width)
        return Found(rows, np.array([scores for _, scores in fused], np.float32).reshape(len(texts), width))

    @cached_property
    def _words(self) -> Words:
        words = Words(self.path, len(self))
        if not _is_present(self.path, self.record):
            raise DataError(
                f"{self.path} was replaced after it was opened", "wanted the words of its rows", "open it again"
            )
        return words

    def _reranker(self, model: str | Path | Reranker) -> Reranker:
        """Return a cross-encoder; one that is named is loaded once."""
        if not isinstance(model, str | Path):
            return model
        if self._loaded is None or self._loaded[0] != str(model):
            self._loaded = (str(model), load_reranker(str(model), self._encoder.device))
        return self._loaded[1]

    def close(self) -> None:
        """Release files and connections."""
        self._searcher.close()
        self.rows.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _completed(self, queries: Any, found: Found, wanted: int, matching: Filter | None) -> Found:
        """Return the results with those of exact search for queries that have too few."""
        if found.rows.shape[1] >= wanted and (found.rows[:, wanted - 1] != NOTHING).all():
            return found
        rows = np.full((len(queries), wanted), NOTHING)
        scores = np.full((len(queries), wanted), -np.inf, np.float32)
        width = min(found.rows.shape[1], wanted)
        rows[:, :width], scores[:, :width] = found.rows[:, :width], found.scores[:, :width]
        short = np.flatnonzero((rows == NOTHING).any(axis=1))
        if len(short):
            exact = search_exact(self.vectors, queries[short], wanted, None if matching is None else matching.rows)
            rows[short], scores[short] = exact.rows, exact.scores
        return Found(rows, scores)

    def _hits(self, rows: Int[np.ndarray, " k"], scores: Float[np.ndarray, " k"]) -> list[Hit]:
        found = zip(self.rows.rows(rows), scores.tolist(), strict=True)
        return [Hit(row.pop(ID), score, row.pop(TEXT, None), row) for row, score in found]


def open_index(
    path: str | Path,
    *,
    model: str | Path | SentenceTransformer | None = None,
    device: str | None = None,
    settings: Mapping[str, Any] | None = None,
    check: bool | None = None,
) -> Index:
    """Return an index that ``build_index`` or ``poolwise index`` wrote, open for searches.

    Args:
        path: its folder.
        model: encodes queries that are texts: a folder, a hub id or a loaded model; None takes the model that its
            corpus names. It must be that of the corpus.
        device: of the model, such as "cpu" or "cuda:1"; None takes a GPU if there is one.
        settings: of the backend for these searches, such as ``{"ef_search": 128}``, instead of those it was built with.
        check: compare the content of every file with its checksum, not only its size; None does so for an index of up
            to 256 MiB.
    Raises: DataError where the folder is no index or is damaged; ConfigError where the backend needs a library that is
        not installed, or a setting cannot be changed.

    Example:

        >>> import numpy as np
        >>> import poolwise
        >>> model = poolwise.build_model("mean+causal", "poolwise/nano")
        >>> done = poolwise.encode_corpus(model, "my-suite/retrieval/toy-search", "embeddings")
        >>> poolwise.build_index("embeddings", "index").close()
        >>> index = poolwise.open_index("index")
        >>> [len(hits) for hits in index.search(np.ones((2, 256)), k=5)]
        [5, 5]
    """
    folder = Path(path)
    while True:
        record = load_index_record(folder, reads_all=check)
        try:
            index = Index(folder, record, QueryEncoder(record, folder, model, device), settings or {})
        except (OSError, ValueError, PoolwiseError):
            if _is_present(folder, record):
                raise
            continue
        # Files of two indexes would be mixed if it was replaced meanwhile.
        if _is_present(folder, record):
            return index
        index.close()


def _is_present(folder: Path, record: IndexRecord) -> bool:
    present = present_index(folder)
    return present is not None and present.name == record.name


def _reranked(model: Reranker, query: str, hits: Sequence[Hit]) -> list[Hit]:
    order, scores = sort_texts(model, query, [hit.text or "" for hit in hits])
    return [replace(hits[place], score=float(score)) for place, score in zip(order, scores, strict=True)]


def _changed(settings: Any, changes: Mapping[str, Any], backend: str) -> Any:
    """Return settings with changes for a search. Raises: ConfigError for a setting that is fixed in the index."""
    if fixed := [name for name in changes if name not in settings.AT_SEARCH]:
        raise ConfigError(
            f"setting {fixed[0]} of a search with {backend}",
            f"wanted one of {', '.join(sorted(settings.AT_SEARCH))}",
            "the others are set when an index is built",
        )
    return build_settings(find_backend(backend), {**settings.model_dump(), **changes})


def _rescored(vectors: Vectors, queries: Float[np.ndarray, "Q D"], found: Found) -> Found:
    """Return the same rows with their exact scores, best first; of equal scores the lower row first."""
    rows, scores = found.rows.copy(), np.full(found.rows.shape, -np.inf, np.float32)
    for number, query in enumerate(queries):
        known = np.sort(found.rows[number][found.rows[number] != NOTHING])
        exact = vectors.take(known) @ query
        order = np.argsort(-exact, kind="stable")
        rows[number] = NOTHING
        rows[number, : len(known)], scores[number, : len(known)] = known[order], exact[order]
    return Found(rows, scores)
