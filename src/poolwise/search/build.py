"""``build_index``: an encoded corpus into an index, whole or not at all."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from poolwise.corpus.manifest import RANGES, Manifest, load_manifest
from poolwise.corpus.shards import is_intact, load_shard
from poolwise.errors import ConfigError, DataError, EvalError
from poolwise.records import load_record
from poolwise.search.backends import Settings, Source, build_settings, find_backend
from poolwise.search.backends.faiss_files import is_installed
from poolwise.search.hybrid import save_words
from poolwise.search.index import Index, Queries
from poolwise.search.index_record import (
    BACKEND,
    INDEX,
    IndexRecord,
    Recall,
    Similarity,
    describe_files,
    load_index_record,
    save_index_record,
)
from poolwise.search.query_encoder import QueryEncoder
from poolwise.search.recall import recall_of
from poolwise.search.stored_rows import ID, TEXT, RowWriter, StoredRows, require_unique
from poolwise.search.vectors import Vectors, VectorWriter
from poolwise.storage.lock import locked
from poolwise.storage.whole_files import whole_folder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)
OnRows = Callable[[int, int, str], None]
"""Called with the rows done, all rows, and what is done with them."""
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
    similarity: str | None = None,
    query_prompt: str | None = None,
    min_recall: float = MIN_RECALL,
    recall_k: int = RECALL_K,
    queries: Queries | None = None,
    hybrid: bool = False,
    model: str | Path | SentenceTransformer | None = None,
    device: str | None = None,
    on_progress: OnRows | None = None,
) -> Index:
    """Build an index of an encoded corpus, and return it open. An index that ``out`` holds is replaced at the end.

    The index does not need the corpus any more: it has vectors, ids, stored texts and fields of its own.

    Args:
        corpus: a folder that ``encode_corpus`` or ``poolwise encode`` wrote.
        out: the folder of the index.
        backend: "exact", "faiss-hnsw", "faiss-ivfpq"; "faiss" is one of these two, by the size of the vectors; "auto"
            is exact below 100,000 rows, and faiss above; "lancedb", "pgvector" and "qdrant" are in a database.
        settings: of the backend; it has defaults for all.
        similarity: "cosine" or "dot"; None takes what the model was made for.
        query_prompt: put before every query; None takes the model's prompt for queries.
        min_recall: the least share of the nearest rows that an approximate backend must find, 0 to 1.
        recall_k: how many nearest rows count for that.
        queries: texts or vectors with which recall is measured; None takes 200 rows of the corpus, each without itself.
        hybrid: also index the words of the stored texts, for ``Index.search(hybrid=True)``.
        model: encodes queries of the index that is returned; see ``open_index``.
        device: of that model.
        on_progress: called with the rows done, all rows, and what is done.
    Raises: DataError where the corpus is not finished, damaged, or has an id twice; ConfigError where ``out`` holds
        something else, for an unknown backend or setting, a library that is not installed, or a recall below
            ``min_recall``; OSError for a full disk. An index that fails leaves nothing behind.

    Example:

        >>> import poolwise
        >>> model = poolwise.build_model("mean+causal", "poolwise/nano")
        >>> done = poolwise.encode_corpus(model, "my-suite/retrieval/toy-search", "embeddings")
        >>> index = poolwise.build_index("embeddings", "index", backend="exact")
        >>> len(index), index.record.backend
        (24, 'exact')
    """
    source, folder = Path(corpus), Path(out)
    report = on_progress or _ignore
    _require_own(folder, source)
    replaced = _before(folder)
    with _held(source):
        manifest = _finished(source)
        chosen, reason = _choose(backend, manifest)
        kind = find_backend(chosen)
        asked = build_settings(kind, settings or {})
        record = IndexRecord(
            name=secrets.token_hex(8),
            corpus=str(source),
            model=manifest.model,
            fingerprint=manifest.fingerprint,
            query_prompt=manifest.query_prompt if query_prompt is None else query_prompt,
            is_prompt_given=query_prompt is not None,
            similarity=_similarity(similarity, manifest),
            dim=manifest.output.dim,
            dtype=manifest.output.dtype,
            num_rows=manifest.num_rows,
            keeps_text=manifest.output.keeps_text,
            fields=(),
            backend=chosen,
            settings=asked.model_dump(mode="json"),
            reason=reason,
            has_words=hybrid,
            files=[],
        )
        encoder = QueryEncoder(record, folder, model, device)
        with whole_folder(folder) as partial, ExitStack() as undo:
            _copy_rows(source, manifest, partial, record.similarity, report)
            with closing(StoredRows(partial)) as rows:
                require_unique(rows, source)
                record = record.model_copy(update={"fields": tuple(n for n in rows.columns if n not in (ID, TEXT))})
                if hybrid:
                    save_words(rows, partial)
                vectors = Vectors(partial, record.dtype, record.dim)
                (partial / BACKEND).mkdir()
                told = Source(
                    record.name,
                    record.fingerprint,
                    vectors,
                    rows,
                    record.similarity,
                    _rows_done(report, record.num_rows),
                )
                kind.build(told, partial / BACKEND, asked)
            undo.callback(kind.discard, record.name, asked)
            if not kind.is_exact:
                recall = _measured(partial, record, encoder, recall_k, queries)
                _require_recall(recall, min_recall, record, asked)
                record = record.model_copy(update={"recall": recall})
            save_index_record(record.model_copy(update={"files": describe_files(partial)}), partial)
            undo.pop_all()
    if replaced is not None:
        old = find_backend(replaced.backend)
        old.discard(replaced.name, build_settings(old, replaced.settings))
    # With the same encoder, which may have loaded its model already.
    return Index(folder, load_index_record(folder), encoder, {})


@contextmanager
def _held(corpus: Path) -> Iterator[None]:
    """Keep others from changing a corpus while it is read; a folder that nobody may write needs no lock."""
    if not corpus.is_dir() or not os.access(corpus, os.W_OK):
        yield
        return
    with locked(corpus):
        yield


def _require_own(out: Path, corpus: Path) -> None:
    """Raise ConfigError where ``out`` holds something that is not an index, or lies in the corpus or around it."""
    if out.resolve() == corpus.resolve() or corpus.resolve() in out.resolve().parents:
        raise ConfigError(f"--out {out} lies in the corpus {corpus}", "wanted a folder of its own")
    if out.is_dir() and not (out / INDEX).is_file():
        other = sorted(path.name for path in out.iterdir())
    else:
        other = [] if out.is_dir() or not out.exists() else [out.name]
    if other:
        raise ConfigError(
            f"--out {out} holds {', '.join(other[:5])}", "wanted a new folder, or one that poolwise index wrote"
        )


def _before(out: Path) -> IndexRecord | None:
    """Return the record of the index that is replaced; None where there is none, or it cannot be read."""
    try:
        return load_record(IndexRecord, out / INDEX) if (out / INDEX).is_file() else None
    except EvalError:
        return None


def _finished(corpus: Path) -> Manifest:
    """Return the manifest of a corpus that is complete. Raises: DataError for any other."""
    manifest = load_manifest(corpus)
    if not manifest.is_complete:
        raise DataError(f"{corpus} is not encoded to its end", hint="run poolwise encode again: it resumes")
    if manifest.fingerprint != manifest.model.fingerprint:
        raise DataError(
            f"{corpus} names two models: fingerprint {manifest.fingerprint} and {manifest.model.fingerprint}",
            "wanted the embeddings of one model",
            "encode the corpus again into a new folder",
        )
    if not manifest.num_rows:
        raise DataError(f"{corpus} has no rows", "wanted an encoded corpus with rows")
    return manifest


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
        f"try {settings.advice()}, or --backend exact",
    )


def _rows_done(report: OnRows, num_rows: int) -> Callable[[int], None]:
    return lambda done: report(done, num_rows, "rows indexed")


def _copy_rows(corpus: Path, manifest: Manifest, to: Path, similarity: Similarity, report: OnRows) -> None:
    """Copy rows and vectors of all shards. Raises: DataError for a shard that is damaged or of another model."""
    output, done = manifest.output, 0
    ranges = corpus / RANGES if output.dtype == "int8" else None
    with (
        VectorWriter(to, manifest.num_rows, output.dim, output.dtype, similarity, ranges) as vectors,
        RowWriter(to) as rows,
    ):
        for shard in manifest.shards:
            place = str(corpus / "shards" / shard.files[0].name)
            if not is_intact(corpus, shard):
                raise DataError(
                    f"{place} is damaged, truncated or missing",
                    "wanted the shard that the manifest describes",
                    "run poolwise encode again: it encodes those rows again",
                )
            table, matrix = load_shard(corpus, shard)
            vectors.add(matrix, place)
            rows.add(table, place)
            done += len(matrix)
            report(done, manifest.num_rows, "rows copied")


def _ignore(_done: int, _total: int, _what: str) -> None:
    """Ignore progress."""
