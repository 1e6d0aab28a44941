"""Opens a model for a corpus: its fingerprint, how it encodes rows, and how documents are split for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from sentence_transformers import SentenceTransformer

from poolwise.corpus.chunks import Chunker
from poolwise.corpus.engines import Encode
from poolwise.corpus.fingerprint import document_prompt, fingerprint_model, query_prompt
from poolwise.corpus.late import pool_chunks, require_late_pooling
from poolwise.corpus.manifest import ModelFingerprint, Output
from poolwise.corpus.quantise import require_width
from poolwise.corpus.rows import Row
from poolwise.corpus.settings import CorpusConfig
from poolwise.encoding.encode import encode_texts, is_readable
from poolwise.errors import ConfigError, ModelError
from poolwise.kernels.memory import STOCK_BATCH, encode_with_less
from poolwise.models import load_any, prepare_encoding, trained_dimensions


@dataclass(frozen=True)
class OpenedModel:
    """A model, how it encodes rows, and what is recorded of it."""

    fingerprint: ModelFingerprint
    query_prompt: str
    similarity: str
    output: Output
    encode: Encode
    chunker: Chunker | None


def open_model(model: str | SentenceTransformer, config: CorpusConfig) -> OpenedModel:
    """Return a model by name, or a loaded one, ready to encode a corpus.

    Raises: ConfigError for options that the model does not allow; ModelError where it cannot be loaded.
    """
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
        require_late_pooling(loaded)
    name = model if isinstance(model, str) else "a loaded model"
    fingerprint = fingerprint_model(loaded, name, prompt)
    chunker = _chunker(loaded, config, prompt)
    encode = _encode_with(loaded, prompt, config, dim, is_own=isinstance(model, str))
    return OpenedModel(fingerprint, query_prompt(loaded), str(loaded.similarity_fn_name), output, encode, chunker)


def _width(model: SentenceTransformer, dim: int | None) -> int:
    """Return the width of the stored embeddings. Raises: ConfigError for one that the model was not trained for."""
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
    tokens = model[0].tokens if is_readable(model) else None
    # A poolwise model puts EOS after every text, whatever its tokenizer adds.
    num_special = len(tokens.prefix) + 1 if tokens is not None else tokenizer.num_special_tokens_to_add()
    num_special += len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    return Chunker(config.chunking, tokenizer, num_special, model.max_seq_length, config.pool_chunks)


def _encode_with(model: SentenceTransformer, prompt: str, config: CorpusConfig, dim: int, is_own: bool) -> Encode:
    """Return the function that encodes rows with a model; a model that nobody else has is prepared in place."""
    if config.pool_chunks:
        return partial(_pool_chunks, model, prompt, dim)
    if not is_readable(model):
        return partial(_encode_by_stock, model, prompt, dim)
    if is_own:
        prepare_encoding(model)
    return partial(
        _encode_fast if model.has_reader and model.truncate_dim is None else _encode_by_stock, model, prompt, dim
    )


def _encode_fast(
    model: SentenceTransformer, prompt: str, dim: int, rows: Sequence[Row], on_rows: Callable[[int], None]
) -> Float[np.ndarray, "N D"]:
    texts = [row.text for row in rows]
    # Repeatable, so that several processes give the bytes of one.
    found = encode_texts(model, texts, prompt, is_repeatable=True, on_progress=lambda done, _: on_rows(done))
    return narrowed(found, dim)


def _encode_by_stock(
    model: SentenceTransformer, prompt: str, dim: int, rows: Sequence[Row], on_rows: Callable[[int], None]
) -> Float[np.ndarray, "N D"]:
    texts = [row.text for row in rows]

    def encode(batch_size: int) -> Any:
        return model.encode_document(texts, prompt=prompt, batch_size=batch_size, show_progress_bar=False)

    found = encode_with_less(encode, STOCK_BATCH)
    return narrowed(np.asarray(found, dtype=np.float32), dim)


def _pool_chunks(
    model: SentenceTransformer, prompt: str, dim: int, rows: Sequence[Row], on_rows: Callable[[int], None]
) -> Float[np.ndarray, "N D"]:
    return narrowed(pool_chunks(model, rows, prompt), dim)


def narrowed(vectors: Float[np.ndarray, "N D"], dim: int) -> Float[np.ndarray, "N D"]:
    """Return the first ``dim`` numbers of embeddings, scaled to length 1; as they are if that is all of them."""
    if dim == vectors.shape[1]:
        return vectors
    cut = vectors[:, :dim]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return cut / np.maximum(lengths, np.finfo(np.float32).tiny)


def open_encode(model: str, config: CorpusConfig, prompt: str) -> Encode:
    """Return the function that encodes rows, with a model that this process loads for itself."""
    loaded = load_any(model, config.precision, config.max_tokens, for_encoding=False, device=config.device)
    return _encode_with(loaded, prompt, config, _width(loaded, config.dim), is_own=True)


def open_same(model: str, config: CorpusConfig, wanted: ModelFingerprint) -> Encode:
    """Return what ``open_encode`` does, in a process of another machine.

    Raises: ModelError where this machine would encode otherwise; the message names what differs.
    """
    loaded = load_any(model, config.precision, config.max_tokens, for_encoding=False, device=config.device)
    found = fingerprint_model(loaded, model, wanted.prompt)
    if found.fingerprint != wanted.fingerprint:
        mine, theirs = found.model_dump(), wanted.model_dump()
        differing = [
            f"{name} {mine[name]!r}, there {theirs[name]!r}"
            for name in mine
            if name != "name" and mine[name] != theirs[name]
        ]
        raise ModelError(
            f"its model is not that of the command: {'; '.join(differing)}",
            "wanted the same embeddings from every node",
            "give --precision, and the same model folder or commit of the hub to all nodes",
        )
    return _encode_with(loaded, wanted.prompt, config, _width(loaded, config.dim), is_own=True)
