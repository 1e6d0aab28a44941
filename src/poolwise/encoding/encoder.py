"""Encoders for evaluation: a model whose embeddings are kept for reuse, and random vectors as a baseline."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from poolwise.errors import EvalError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Embeddings = NDArray[np.float32]

PROGRESS_TEXTS = 1024
"""Number of texts between two progress reports."""


class ModelEncoder:
    """Encodes with a model and keeps every embedding: each (prompt, text) is read once, for all tasks.

    Args:
        model: any sentence-transformers model; poolwise models use ``encode_texts``, which is faster.
        batch_size: maximum number of texts per forward pass.
        on_progress: called with (texts done, texts in this request) during encoding.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        batch_size: int = 64,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.model, self.batch_size, self.on_progress = model, batch_size, on_progress
        self.num_encoded, self.seconds = 0, 0.0
        self._rows: dict[tuple[str, str], int] = {}
        self._store: Embeddings = np.empty((0, 0), np.float32)

    @property
    def texts_per_second(self) -> float | None:
        """Texts per second, counting only texts that the model read; None before the first."""
        return self.num_encoded / self.seconds if self.num_encoded else None

    def prepare(self, keys: Iterable[tuple[str, str]]) -> None:
        """Encode the (prompt, text) pairs of many tasks together, which gives fuller batches."""
        self._encode_missing(list(keys))

    def encode(self, texts: Sequence[str], prompt: str) -> Embeddings:
        """Return one embedding per text.

        Raises: EvalError if the model returns a value that is not finite.
        """
        keys = [(prompt, text) for text in texts]
        self._encode_missing(keys)
        return self._store[[self._rows[key] for key in keys]]

    def _encode_missing(self, keys: Sequence[tuple[str, str]]) -> None:
        missing = [key for key in dict.fromkeys(keys) if key not in self._rows]
        # Longest first, so that a batch that is too large fails at once instead of after an hour.
        missing.sort(key=lambda key: (key[0], -len(key[1]), key[1]))
        blocks, done = [], 0
        for prompt, of_prompt in groupby(missing, key=lambda key: key[0]):
            texts = [text for _, text in of_prompt]
            start = time.perf_counter()
            block = self._read(texts, prompt, done, len(missing)).astype(np.float32, copy=False)
            self.seconds += time.perf_counter() - start
            self._check(block, texts)
            blocks.append(block)
            done += len(texts)
        self.num_encoded += done
        if blocks:
            self._rows |= {key: len(self._store) + row for row, key in enumerate(missing)}
            self._store = np.concatenate([self._store, *blocks] if self._store.size else blocks)

    def _read(self, texts: list[str], prompt: str, before: int, total: int) -> Embeddings:
        from poolwise.encoding.encode import encode_texts, is_readable
        from poolwise.kernels.memory import encode_with_less

        reported = before

        def report(done: int, _total: int) -> None:
            nonlocal reported
            if self.on_progress is not None and (before + done - reported >= PROGRESS_TEXTS or done == len(texts)):
                reported = before + done
                self.on_progress(reported, total)

        if is_readable(self.model) and self.model.has_reader:
            return encode_texts(
                self.model, texts, prompt, most_texts=self.batch_size, is_repeatable=True, on_progress=report
            )
        parts: list[Embeddings] = []
        for start in range(0, len(texts), PROGRESS_TEXTS):
            part = texts[start : start + PROGRESS_TEXTS]
            parts.append(encode_with_less(partial(self._encode_by_stock, part, prompt), self.batch_size))
            report(start + len(part), len(texts))
        return np.concatenate(parts)

    def _encode_by_stock(self, texts: list[str], prompt: str, batch_size: int) -> Embeddings:
        settings = {"batch_size": batch_size, "convert_to_numpy": True, "show_progress_bar": False}
        return self.model.encode(texts, prompt=prompt, **settings)

    def _check(self, block: Embeddings, texts: Sequence[str]) -> None:
        bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if bad.size:
            raise EvalError(
                f"{bad.size} texts have embeddings that are not finite, such as {texts[bad[0]][:60]!r}",
                "wanted finite embeddings",
                "try eval.precision: fp32, or check the training loss",
            )


class TruncatedEncoder:
    """Gives the first ``dimension`` numbers of another encoder's embeddings, normalised again."""

    def __init__(self, encoder: ModelEncoder, dimension: int) -> None:
        self.encoder, self.dimension = encoder, dimension

    def encode(self, texts: Sequence[str], prompt: str) -> Embeddings:
        """Return one unit vector per text; raises as the other encoder does."""
        rows = self.encoder.encode(texts, prompt)[:, : self.dimension]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.maximum(lengths, np.finfo(np.float32).tiny)


class RandomEncoder:
    """Random unit vectors, seeded by a hash of the text: equal texts get equal vectors."""

    def __init__(self, dim: int = 256, seed: int = 0) -> None:
        self.dim, self.seed = dim, seed

    def encode(self, texts: Sequence[str], prompt: str) -> Embeddings:
        """Return one unit vector per text; the prompt is ignored."""
        rows = np.stack([self._draw(text) for text in texts]) if texts else np.empty((0, self.dim))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def _draw(self, text: str) -> np.ndarray:
        digest = hashlib.sha256(f"{self.seed}:{text}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big")).standard_normal(self.dim)
