"""``encode_corpus``: a corpus of any size into a folder of embeddings, resumable and updated by the same call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import Float

from poolwise.corpus.chunks import Chunker, Chunking
from poolwise.corpus.engines import Encode, Engine, InProcesses, InThisProcess, ShardWriter
from poolwise.corpus.inputs import find_tables
from poolwise.corpus.lock import LOCK, locked
from poolwise.corpus.manifest import (
    MANIFEST,
    RANGES,
    WORK,
    Dtype,
    Format,
    Manifest,
    ModelFingerprint,
    Output,
    load_manifest,
    require_same,
    save_manifest,
)
from poolwise.corpus.pace import OnProgress, Pace
from poolwise.corpus.quantise import CALIBRATION_ROWS, find_ranges, require_width
from poolwise.corpus.rows import Columns, Row
from poolwise.corpus.update import Update
from poolwise.errors import ConfigError, DataError
from poolwise.storage.fingerprints import file_hash
from poolwise.storage.whole_files import whole_file

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SHARD_ROWS = 8192
"""Two windows of texts that are sorted by length together (``kernels.reading.WINDOW``), and 8 MB at 256 numbers."""
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class CorpusConfig:
    """How a corpus is read, encoded and stored. The command ``poolwise encode`` has an option for each.

    Args:
        columns: which fields of a row are its id, its text and its title, and which are stored.
        split: of data sets of the hub.
        prompt: put before every text; None takes that named by ``prompt_name``, or the model's prompt for documents.
        max_tokens: truncate texts at another length than the model's.
        precision: of matrix products, as in ``load_model``.
        device: such as "cpu" or "cuda:1"; None takes a GPU if there is one.
        processes: that encode at the same time, each with a GPU of its own where there are GPUs.
        format: "parquet", with fixed-size lists, or "npy", with a parquet file of the rows beside each matrix.
        dtype: of the stored numbers; "binary" is eight dimensions to a byte.
        dim: keep so many first numbers of each embedding, scaled to length 1; the model must be trained for it.
        keep_text: store the encoded texts.
        chunking: split documents; None encodes each as one text, which is truncated at ``max_tokens``.
        pool_chunks: read a document whole, and pool each chunk's tokens.
        shard_rows: the most rows of a shard.
        is_strict: a bad row is an error.
    """

    columns: Columns = field(default_factory=Columns)
    split: str = "train"
    prompt: str | None = None
    prompt_name: str | None = None
    max_tokens: int | None = None
    precision: Precision = "auto"
    device: str | None = None
    processes: int = 1
    format: Format = "parquet"
    dtype: Dtype = "float32"
    dim: int | None = None
    keep_text: bool = False
    chunking: Chunking | None = None
    pool_chunks: bool = False
    shard_rows: int = SHARD_ROWS
    is_strict: bool = False

    def __post_init__(self) -> None:
        if self.pool_chunks and self.chunking is None:
            raise ConfigError("--pool-chunks without --chunk", "wanted both", "add --chunk tokens=256,overlap=32")
        choices = {"format": get_args(Format), "dtype": get_args(Dtype), "precision": get_args(Precision)}
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ConfigError(f"--{name} {value}", f"wanted {', '.join(known)}")
        for name, value in (("processes", self.processes), ("shard_rows", self.shard_rows)):
            if value < 1:
                raise ConfigError(f"{name} is {value}", "wanted 1 or more")


@dataclass(frozen=True)
class Summary:
    """What one call did: rows read, and rows of the folder, which are chunks if documents are split."""

    manifest: Manifest
    num_read: int
    num_encoded: int
    num_kept: int
    num_dropped: int
    num_rejected: int


def encode_corpus(
    model: str | SentenceTransformer,
    inputs: Sequence[str],
    out: Path,
    config: CorpusConfig,
    on_progress: OnProgress = lambda _: None,
) -> Summary:
    """Encode every row of the inputs into a folder, and return what was done.

    The same call resumes after an interruption, and updates a finished folder: it encodes new and changed rows and
    drops those that the inputs no longer have.

    Args:
        model: a folder, a run's folder, a hub id, or a loaded model, with which ``processes`` must be 1.
        inputs: files, folders, patterns, URLs, data sets of the hub, or "-" for standard input.
    Raises: DataError for inputs that cannot be read (missing ones before the model is loaded); OSError for a full disk;
        ConfigError where ``out`` holds something else, was encoded with another model or options, or is in use;
        ModelError where the model cannot be loaded.
    """
    if not isinstance(model, str) and config.processes > 1:
        raise ConfigError("several processes with a loaded model", "wanted the name of a model, which each loads")
    _require_own(out)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        (out / WORK).mkdir(exist_ok=True)
        tables = find_tables(inputs, config.split, out / WORK)
        opened = _open_model(model, config)
        manifest = _begin(out, opened.fingerprint, opened.output)
        update = Update(
            out,
            tables,
            config.columns,
            chunker=opened.chunker,
            shard_rows=config.shard_rows,
            is_strict=config.is_strict,
        )
        try:
            rows = update.new_rows()
            ranges, rows = _ranges(out, manifest, rows, opened) if config.dtype == "int8" else (None, rows)
            engine = _engine(model, config, opened, ShardWriter(out, opened.output, ranges))
            counts = [table.num_rows for table in tables]
            total = None if None in counts else sum(count for count in counts if count is not None)
            before = update.num_known
            manifest = update.run(engine, rows, Pace(total, on_progress))
        finally:
            update.close()
    return Summary(
        manifest=manifest,
        num_read=update.num_read,
        num_encoded=update.num_encoded,
        num_kept=update.num_kept,
        num_dropped=before - update.num_kept,
        num_rejected=update.num_rejected,
    )


def _require_own(out: Path) -> None:
    """Raise ConfigError where a folder holds something that is not an encoded corpus."""
    if out.is_dir() and not (out / MANIFEST).is_file():
        other = sorted(path.name for path in out.iterdir() if path.name not in (LOCK, WORK))
    else:
        other = [] if out.is_dir() or not out.exists() else [out.name]
    if other:
        raise ConfigError(
            f"--out {out} holds {', '.join(other[:5])}", "wanted a new folder, or one that poolwise encode wrote"
        )


def _begin(out: Path, model: ModelFingerprint, output: Output) -> Manifest:
    """Return the folder's manifest; a new folder gets one that is not complete.

    Raises: ConfigError where the folder was encoded with another model or output.
    """
    if (out / MANIFEST).is_file():
        manifest = load_manifest(out)
        require_same(out, manifest, model, output)
        return manifest
    manifest = Manifest(model=model, fingerprint=model.fingerprint, output=output)
    save_manifest(manifest, out)
    return manifest


@dataclass(frozen=True)
class _OpenedModel:
    """A model, how it encodes rows, and what is recorded of it."""

    fingerprint: ModelFingerprint
    output: Output
    encode: Encode
    chunker: Chunker | None


def _open_model(model: str | SentenceTransformer, config: CorpusConfig) -> _OpenedModel:
    from poolwise.corpus.fingerprint import document_prompt, fingerprint_model
    from poolwise.models import load_any

    if isinstance(model, str):
        loaded = load_any(model, config.precision, config.max_tokens, for_encoding=False, device=config.device)
    else:
        if config.max_tokens is not None:
            raise ConfigError("max_tokens with a loaded model", "wanted model.max_seq_length set before")
        loaded = model
    prompt = document_prompt(loaded, config.prompt, config.prompt_name)
    dim = _width(loaded, config.dim)
    require_width(config.dtype, dim)
    output = Output(
        format=config.format,
        dtype=config.dtype,
        dim=dim,
        keeps_text=config.keep_text,
        kept=config.columns.keep,
        chunks=None if config.chunking is None else str(config.chunking),
        pools_chunks=config.pool_chunks,
    )
    if config.pool_chunks:
        from poolwise.corpus.late import require_late_pooling

        require_late_pooling(loaded)
    name = model if isinstance(model, str) else "a loaded model"
    fingerprint = fingerprint_model(loaded, name, prompt)
    chunker = _chunker(loaded, config, prompt)
    encode = _encode_with(loaded, prompt, config, is_own=isinstance(model, str))
    return _OpenedModel(fingerprint, output, encode, chunker)


def _width(model: SentenceTransformer, dim: int | None) -> int:
    """Return the width of the stored embeddings. Raises: ConfigError for one that the model was not trained for."""
    from poolwise.models import trained_dimensions

    width = model.truncate_dim or model.get_embedding_dimension() or 0
    trained = trained_dimensions(model)
    if dim is None or dim == width or dim in trained:
        return dim or width
    known = f"wanted one of {', '.join(map(str, trained))}" if trained else f"wanted {width}, its only width"
    raise ConfigError(
        f"--dim {dim}: the model is not known to be trained for embeddings of {dim} numbers",
        known,
        "leave --dim out; a shorter embedding needs a model that was trained with train.matryoshka",
    )


def _chunker(model: SentenceTransformer, config: CorpusConfig, prompt: str) -> Chunker | None:
    if config.chunking is None:
        return None
    tokenizer = model.tokenizer
    num_special = len(tokenizer("a" if not prompt else prompt + "a")["input_ids"]) - len(
        tokenizer("a", add_special_tokens=False)["input_ids"]
    )
    tokens = getattr(model[0], "tokens", None)
    if tokens is not None:  # ours: EOS is always there, whatever the tokenizer adds
        num_special = len(tokens.encode(["a"], prompt, model.max_seq_length)[0][0]) - len(
            tokenizer("a", add_special_tokens=False)["input_ids"]
        )
    return Chunker(config.chunking, tokenizer, num_special, model.max_seq_length, config.pool_chunks)


def _encode_with(model: SentenceTransformer, prompt: str, config: CorpusConfig, is_own: bool) -> Encode:
    """Return the function that encodes rows with a model."""
    from poolwise.encoding.encode import encode_texts, is_readable
    from poolwise.models import prepare_encoding

    if config.pool_chunks:
        from poolwise.corpus.late import pool_chunks

        def encode(rows: Sequence[Row], on_rows: Callable[[int], None]) -> Float[np.ndarray, "N D"]:
            return _narrowed(pool_chunks(model, rows, prompt), config.dim)

        return encode
    if is_readable(model):
        if is_own:  # nobody else has the model, so it need not be copied
            prepare_encoding(model)
        if model.has_reader:

            def encode(rows: Sequence[Row], on_rows: Callable[[int], None]) -> Float[np.ndarray, "N D"]:
                texts = [row.text for row in rows]
                # Repeatable, so that several processes give the bytes of one.
                found = encode_texts(
                    model, texts, prompt, is_repeatable=True, on_progress=lambda done, _: on_rows(done)
                )
                return _narrowed(found, config.dim)

            return encode

    def encode(rows: Sequence[Row], on_rows: Callable[[int], None]) -> Float[np.ndarray, "N D"]:
        found = model.encode_document([row.text for row in rows], prompt=prompt, show_progress_bar=False)
        return _narrowed(np.asarray(found, dtype=np.float32), config.dim)

    return encode


def _narrowed(vectors: Float[np.ndarray, "N D"], dim: int | None) -> Float[np.ndarray, "N D"]:
    """Return the first ``dim`` numbers of embeddings, scaled to length 1; if it is None, all as they are."""
    if dim is None or dim == vectors.shape[1]:
        return vectors
    cut = vectors[:, :dim]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return cut / np.maximum(lengths, np.finfo(np.float32).tiny)


def _ranges(
    out: Path, manifest: Manifest, rows: Iterator[list[Row]], opened: _OpenedModel
) -> tuple[Float[np.ndarray, "2 D"], Iterator[list[Row]]]:
    """Return the ranges of int8, and the rows again; they are taken once from a corpus's first rows, and kept.

    Raises: DataError where the ranges that the folder was encoded with are gone.
    """
    path = out / RANGES
    if manifest.ranges_sha256 is not None:
        if not path.is_file() or file_hash(path) != manifest.ranges_sha256:
            raise DataError(f"{path} is missing or changed", "wanted the ranges that the shards were made with")
        return np.load(path), rows
    first: list[list[Row]] = []
    size = 0
    for found in rows:
        first.append(found)
        size += len(found)
        if size >= CALIBRATION_ROWS:
            break
    ranges = find_ranges(opened.encode([row for found in first for row in found], lambda _: None))
    with whole_file(path) as file:
        np.save(file, ranges)
    save_manifest(manifest.model_copy(update={"ranges_sha256": file_hash(path)}), out)
    return ranges, chain(first, rows)


def _engine(
    model: str | SentenceTransformer, config: CorpusConfig, opened: _OpenedModel, writer: ShardWriter
) -> Engine:
    if config.processes == 1:
        return InThisProcess(opened.encode, writer)
    from poolwise.jobs import share_gpus
    from poolwise.kernels.devices import require_processes
    from poolwise.ranks import visible_gpus

    gpus = [] if config.device == "cpu" else visible_gpus()
    require_processes(config.processes, config.device, len(gpus))
    assert isinstance(model, str)
    return InProcesses(
        partial(_open_encode, model, config, opened.fingerprint.prompt),
        writer,
        config.processes,
        share_gpus(gpus, config.processes) if gpus else [],
    )


def _open_encode(model: str, config: CorpusConfig, prompt: str) -> Encode:
    """Load the model in a worker."""
    from poolwise.models import load_any

    loaded = load_any(model, config.precision, config.max_tokens, for_encoding=False, device=config.device)
    return _encode_with(loaded, prompt, config, is_own=True)
