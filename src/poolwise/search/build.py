"""``build_index``: an encoded corpus into an index, whole or not at all."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from poolwise.corpus.manifest import Manifest
from poolwise.errors import ConfigError
from poolwise.search.backends import Backend, Settings, Source, build_settings, find_backend
from poolwise.search.backends.faiss_files import is_installed
from poolwise.search.corpus_rows import Corpus, OnRows, copy_rows, corpora_held, open_corpus
from poolwise.search.hybrid import save_words
from poolwise.search.index import Index, Queries
from poolwise.search.index_record import (
    BACKEND,
    FULL,
    FullVectors,
    IndexRecord,
    Recall,
    Similarity,
    describe_files,
    load_index_record,
    save_index_record,
)
from poolwise.search.query_encoder import QueryEncoder
from poolwise.search.recall import recall_of
from poolwise.search.replaced import discard, present_index, require_own, require_same_index
from poolwise.search.rescoring import OVERSAMPLE, copy_full, require_full
from poolwise.search.stored_rows import ID, TEXT, StoredRows, require_unique
from poolwise.search.vectors import Vectors
from poolwise.storage.whole_files import whole_folder
from poolwise.wording import without_home

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)
FEW_ROWS = 100_000
"""Below it, exact search answers in tens of milliseconds on one core, and needs no recall (benchmarks/index.py)."""
MOST_GRAPH_BYTES = 8 << 30
"""Of float32 vectors: a graph holds them all in memory, and its links beside them."""
MIN_RECALL, RECALL_K = 0.95, 10


def build_index(
    corpus: str | Path,
    out: str | Path,
    *,
    backend: str = "auto",
    settings: Mapping[str, Any] | None = None,
    rescore: str | Path | None = None,
    similarity: str | None = None,
    query_prompt: str | None = None,
    min_recall: float = MIN_RECALL,
    recall_k: int = RECALL_K,
    queries: Queries | None = None,
    hybrid: bool = False,
    model: str | Path | SentenceTransformer | None = None,
    device: str | None = None,
    replace: bool = False,
    on_progress: OnRows | None = None,
) -> Index:
    """Build an index of an encoded corpus, and return it open.

    The index does not need the corpus any more: it has vectors, ids, stored texts and fields of its own. The same call
    updates an index after its corpus was updated. The old index can be searched until the new one takes its place.

    Args:
        corpus: a folder that ``encode_corpus`` or ``poolwise encode`` wrote.
        out: the folder of the index.
        backend: "exact", "faiss-hnsw", "faiss-ivfpq"; "faiss" is one of these two, by the size of the vectors; "auto"
            is exact below 100,000 rows, and faiss above; "lancedb", "pgvector" and "qdrant" are in a database.
        settings: of the backend; it has defaults for all.
        rescore: a folder with the same rows in float32 or float16, for a corpus in int8 or binary: the best
            ``oversample`` times k rows are scored again with these vectors, which the index then has too.
        similarity: "cosine" or "dot"; None takes what the model was made for.
        query_prompt: put before every query; None takes the model's prompt for queries.
        min_recall: the least share of the nearest rows that an approximate backend must find, 0 to 1.
        recall_k: how many nearest rows count for that.
        queries: texts or vectors with which recall is measured; None takes 200 rows of the corpus, each without itself.
        hybrid: also index the words of the stored texts, for ``Index.search(hybrid=True)``.
        model: encodes queries of the index that is returned; see ``open_index``.
        device: of that model.
        replace: replace an index of another corpus, model or settings.
        on_progress: called with the rows done, all rows, and what is done.
    Raises: DataError where a corpus is not finished, damaged, or has an id twice, or ``rescore`` has other rows;
        ConfigError where ``out`` holds something else or is in use, where ``rescore`` is of another model or width, for
        an unknown backend or setting, a library that is not installed, or a recall below ``min_recall``; OSError for a
        full disk. A build that fails leaves ``out`` as it was.

    Example:

        >>> import poolwise
        >>> model = poolwise.build_model("mean+causal", "poolwise/nano")
        >>> done = poolwise.encode_corpus(model, "my-suite/retrieval/toy-search", "embeddings")
        >>> index = poolwise.build_index("embeddings", "index", backend="exact")
        >>> len(index), index.record.backend
        (24, 'exact')
    """
    folder, report = Path(out), on_progress or _ignore
    places = [Path(corpus)] if rescore is None else [Path(corpus), Path(rescore)]
    require_own(folder, *places)
    with corpora_held(*places), whole_folder(folder) as partial, ExitStack() as undo:
        source = open_corpus(places[0])
        full = None if rescore is None else open_corpus(places[1])
        if full is not None:
            require_full(source, full)
        manifest = source.manifest
        chosen, reason = _choose(backend, manifest)
        kind = find_backend(chosen)
        asked = _settings(kind, settings or {}, None if full is None else manifest)
        record = IndexRecord(
            name=secrets.token_hex(8),
            corpus=_named(source),
            model=manifest.model,
            fingerprint=manifest.fingerprint,
            query_prompt=manifest.query_prompt if query_prompt is None else query_prompt,
            is_prompt_given=query_prompt is not None,
            similarity=_similarity(similarity, manifest),
            dim=manifest.output.dim,
            dtype=manifest.output.dtype,
            num_rows=len(source),
            keeps_text=manifest.output.keeps_text,
            fields=(),
            backend=chosen,
            asked=backend,
            settings=asked.model_dump(mode="json"),
            reason=reason,
            has_words=hybrid,
            rescore=None
            if full is None
            else FullVectors(corpus=without_home(str(full.path.resolve())), dtype=full.dtype),
            files=[],
        )
        present = present_index(folder)
        if present is not None and not replace:
            require_same_index(folder, present, record)
        encoder = QueryEncoder(record, folder, model, device)
        record = _fill(partial, record, source, full, asked, report)
        undo.callback(kind.discard, record.name, asked)
        if not kind.is_exact or full is not None:
            recall = _measured(partial, record, encoder, recall_k, queries)
            _require_recall(recall, min_recall, record, asked)
            record = record.model_copy(update={"recall": recall})
        save_index_record(record.model_copy(update={"files": describe_files(partial)}), partial)
        undo.pop_all()
    if present is not None:
        discard(present)
    # With the same encoder, which may have loaded its model already.
    return Index(folder, load_index_record(folder), encoder, {})


def _fill(
    folder: Path, record: IndexRecord, source: Corpus, full: Corpus | None, settings: Settings, report: OnRows
) -> IndexRecord:
    """Write everything of an index but its record, and return the record with the fields of its rows."""
    copy_rows(source, folder, record.similarity, report)
    if full is not None:
        copy_full(source, full, folder / FULL, record.similarity, report)
    with closing(StoredRows(folder)) as rows:
        require_unique(rows, source.path)
        if record.has_words:
            save_words(rows, folder)
        vectors = Vectors(folder, record.dtype, record.dim)
        done = _rows_done(report, record.num_rows)
        (folder / BACKEND).mkdir()
        find_backend(record.backend).build(
            Source(record.name, record.fingerprint, vectors, rows, record.similarity, done), folder / BACKEND, settings
        )
        return record.model_copy(update={"fields": tuple(name for name in rows.columns if name not in (ID, TEXT))})


def _named(corpus: Corpus) -> str:
    """Return the place of a corpus as it is recorded."""
    return without_home(str(corpus.path.resolve()))


def _settings(kind: Backend, given: Mapping[str, Any], rescored: Manifest | None) -> Settings:
    """Return the settings of a backend; with rescoring, more candidates unless their number is given."""
    settings = build_settings(kind, given)
    if rescored is None or "oversample" in given:
        return settings
    least = OVERSAMPLE[rescored.output.dtype]
    return build_settings(kind, {**given, "oversample": max(settings.oversample, least)})


def _similarity(asked: str | None, manifest: Manifest) -> Similarity:
    value = asked or manifest.similarity or "cosine"
    for known in get_args(Similarity):
        if value == known:
            return known
    raise ConfigError(
        f"similarity {value}" + ("" if asked else ", which the model was made for"),
        f"wanted one of {', '.join(get_args(Similarity))}",
        "give --similarity cosine or dot",
    )


def _choose(asked: str, manifest: Manifest) -> tuple[str, str]:
    """Return the backend, and why it was chosen."""
    num_rows = manifest.num_rows
    if asked not in ("auto", "faiss"):
        return asked, "asked for"
    if asked == "auto" and num_rows < FEW_ROWS:
        return "exact", f"auto: {num_rows:,} rows, below {FEW_ROWS:,}"
    if asked == "auto" and not is_installed():
        return "exact", f"auto: {num_rows:,} rows, but faiss is not installed: pip install 'poolwise[search]' is faster"
    gib = 4 * num_rows * manifest.output.dim / 2**30
    if gib * 2**30 <= MOST_GRAPH_BYTES:
        return "faiss-hnsw", f"{asked}: {num_rows:,} rows, {gib:.1f} GiB of vectors in memory"
    return "faiss-ivfpq", f"{asked}: {gib:.1f} GiB of vectors, above {MOST_GRAPH_BYTES >> 30}"


def _measured(folder: Path, record: IndexRecord, encoder: QueryEncoder, k: int, queries: Queries | None) -> Recall:
    """Return the recall of an index that is not finished."""
    with Index(folder, record, encoder, {}) as built:
        return recall_of(built, k, None if queries is None else built.encode(queries))


def _require_recall(recall: Recall, least: float, record: IndexRecord, settings: Settings) -> None:
    """Raise ConfigError for a recall that is too low."""
    if recall.value >= least:
        return
    who = "rows of the corpus" if recall.queries == "documents" else "queries"
    raise ConfigError(
        f"recall at {recall.k} of {record.backend} is {recall.value:.3f} on {recall.num_queries} {who}",
        f"wanted {least:g} or more (--min-recall)",
        f"try {settings.advice()}" + ("" if record.backend == "exact" else ", or --backend exact"),
    )


def _rows_done(report: OnRows, num_rows: int) -> Callable[[int], None]:
    return lambda done: report(done, num_rows, "rows indexed")


def _ignore(_done: int, _total: int, _what: str) -> None:
    """Ignore progress."""
