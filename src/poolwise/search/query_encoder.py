"""Queries of an index are encoded by the model that encoded its corpus; any other model is refused."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from poolwise.corpus.manifest import differences
from poolwise.errors import ConfigError, DataError
from poolwise.search.index_record import IndexRecord

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_OF_DOCUMENTS = {"name", "prompt"}
"""Parts of the fingerprint that say nothing about how a query is encoded."""


class QueryEncoder:
    """Encodes the queries of one index. The model is loaded for the first text.

    Args:
        place: names the index in errors.
        model: a name, or a loaded model; None takes the one that the record names.
        device: of a model that is loaded by name.
    """

    def __init__(
        self,
        record: IndexRecord,
        place: Path,
        model: str | Path | SentenceTransformer | None = None,
        device: str | None = None,
    ) -> None:
        self._record, self._place, self.device = record, place, device
        self._asked = record.model.name if model is None else model
        self._is_named = model is not None
        self._loaded: tuple[Any, str] | None = None
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "Q D"]:
        """Return one vector per query, of the width of the index, in float32.

        Raises: DataError for a query that is empty or no text; ConfigError where the model, its length or its prompt is
            not that of the index; ModelError where it cannot be loaded.
        """
        for number, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise DataError(f"query {number + 1} is {text!r}", "wanted a text that is not empty")
        with self._lock:
            if self._loaded is None:
                self._loaded = self._open()
            model, prompt = self._loaded
        found = np.asarray(
            model.encode_query(list(texts), prompt=prompt, show_progress_bar=False, convert_to_numpy=True), np.float32
        )
        from poolwise.corpus.opened import narrowed

        return narrowed(found, self._record.dim)

    def _open(self) -> tuple[Any, str]:
        """Return the model and the prompt of queries, after the check that they are those of the index."""
        from poolwise.corpus.fingerprint import fingerprint_model, query_prompt
        from poolwise.models import load_any

        record, model = self._record, self._asked
        if isinstance(model, str | Path):
            model = load_any(self._name(str(model)), self._precision(), record.model.max_tokens, False, self.device)
        found = fingerprint_model(model, str(self._asked), record.model.prompt)
        own = query_prompt(model)
        wanted = record.query_prompt
        differing = differences(record.model, found, _OF_DOCUMENTS)
        if not record.is_prompt_given and wanted is not None and own != wanted:
            differing.append(f"query prompt {wanted!r} there, {own!r} now")
        if differing:
            raise ConfigError(
                f"{self._place} was built with another model: {'; '.join(differing)}",
                "wanted queries encoded by the model of its corpus, with the same prompt and length",
                "give that model with --model, or encode and index the corpus with this one",
            )
        return model, own if wanted is None else wanted

    def _name(self, name: str) -> str:
        if not self._is_named and name == "a loaded model":
            raise ConfigError(
                f"{self._place} was built with a model that had no name",
                "wanted the model, to encode queries",
                "give its folder with --model, or in Python open_index(path, model=model)",
            )
        return name

    def _precision(self) -> Any:
        known = self._record.model.precision
        return known if known in ("fp32", "bf16") else "auto"
