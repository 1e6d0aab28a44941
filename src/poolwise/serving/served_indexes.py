"""Indexes that a server searches: each by the served model that encoded its corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from poolwise.errors import ConfigError
from poolwise.serving.model_info import ModelInfo
from poolwise.serving.named_prompts import find_prompt
from poolwise.serving.served_model import ServedModel

QUERY = "query"
"""The prompt of queries."""


class FoundRow(Protocol):
    """A row that a search found. ``text`` is None where the corpus stores no texts."""

    @property
    def id(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def text(self) -> str | None: ...


class Searchable(Protocol):
    """What a server needs of an index; ``poolwise.open_index`` returns one."""

    def __len__(self) -> int: ...
    @property
    def ids_fingerprint(self) -> str: ...
    def search(self, queries: Any, k: int) -> Sequence[Sequence[FoundRow]]: ...


@dataclass(frozen=True)
class ServedIndex:
    """An index, and what it needs of the model that encodes its queries.

    Args:
        fingerprint: of the model that encoded its corpus.
        query_prompt: put before queries; None takes the model's own.
        width: of its vectors, which are the first numbers of embeddings.
    """

    name: str
    index: Searchable
    fingerprint: str
    width: int
    query_prompt: str | None = None

    def model_in(self, models: Mapping[str, ServedModel]) -> ServedModel | None:
        """Return the served model that encoded the corpus; None if it is not served, or was replaced by a reload."""
        return next((model for model in models.values() if self.is_of(model.info)), None)

    def is_of(self, info: ModelInfo) -> bool:
        """Return whether a model encoded the corpus, with the prompt for queries that the index has."""
        own = find_prompt(info.prompts, info.default_prompt_name, QUERY)
        return info.fingerprint == self.fingerprint and self.query_prompt in (None, own)

    def search(self, vectors: Float[np.ndarray, "1 D"], k: int) -> Sequence[FoundRow]:
        """Return the best rows for one query, best first."""
        return self.index.search(vectors[:, : self.width], k=min(k, len(self.index)))[0] if len(self.index) else ()


def parse_indexes(named: Sequence[str]) -> dict[str, str]:
    """Return folders by name from ``NAME=DIR``, or from ``DIR`` by its last part.

    Raises: ConfigError for an empty part, or a name that is there twice.
    """
    found: dict[str, str] = {}
    for one in named:
        name, separator, folder = one.partition("=")
        if not separator:
            name, folder = one.rstrip("/").rpartition("/")[2], one
        if not name or not folder:
            raise ConfigError(f"--index {one}", "wanted NAME=DIR")
        if name in found:
            raise ConfigError(f"two indexes are called {name}", "wanted names that differ")
        found[name] = folder
    return found


def open_indexes(named: Sequence[str]) -> dict[str, ServedIndex]:
    """Return the open indexes of ``NAME=DIR``, by name.

    Raises: ConfigError for a wrong name; DataError where a folder is no index or is damaged.
    """
    from poolwise.search import open_index

    found = {}
    for name, folder in parse_indexes(named).items():
        index = open_index(folder)
        record = index.record
        found[name] = ServedIndex(name, index, record.fingerprint, record.dim, record.query_prompt)
    return found


def require_models(indexes: Mapping[str, ServedIndex], models: Mapping[str, ServedModel]) -> None:
    """Raise ConfigError for an index whose corpus no served model has encoded."""
    for index in indexes.values():
        if index.model_in(models) is None:
            served = ", ".join(f"{name} {model.info.fingerprint}" for name, model in models.items())
            raise ConfigError(
                f"--index {index.name} was encoded by model {index.fingerprint}, which is not served; served: {served}",
                "wanted the model of its corpus, with the same prompt, length and precision",
                "serve that model too, or encode the corpus with a served one",
            )
