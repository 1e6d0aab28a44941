"""What a backend is: it builds something to search below an index's folder, and opens it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from poolwise.recipe_keys.section import Section
from poolwise.search.index_record import Similarity
from poolwise.search.stored_rows import StoredRows
from poolwise.search.vectors import BLOCK_ROWS, Vectors
from poolwise.search.where import Filter

NOTHING = -1
"""In place of a row number where a query has fewer results than asked for."""


@dataclass(frozen=True)
class Found:
    """The best rows of each query, best first; where there are fewer, ``NOTHING`` with a score of minus infinity."""

    rows: Int[np.ndarray, "Q k"]
    scores: Float[np.ndarray, "Q k"]


@dataclass(frozen=True)
class Batch:
    """Some rows of an index, in order. ``start`` is the number of the first; ``columns`` has ``id`` and what is stored.

    Every list of ``columns`` is as long as ``vectors``; a value is None where a row lacks the field.
    """

    start: int
    vectors: Float[np.ndarray, "n D"]
    columns: dict[str, list[Any]]


@dataclass(frozen=True)
class Source:
    """The rows and vectors of an index, which are on disk before its backend is built and as long as it is used.

    Args:
        name: 16 hexadecimal digits that no other index has: for a table or a collection in a database.
        fingerprint: of the model.
        similarity: vectors have length 1 with "cosine", so that both kinds compare by the dot product.
        report: ``build`` calls it with the number of rows done.
    """

    name: str
    fingerprint: str
    vectors: Vectors
    rows: StoredRows
    similarity: Similarity
    report: Callable[[int], None] = field(default=lambda _: None)

    def sample(self, count: int) -> Float[np.ndarray, "n D"]:
        """Return up to so many vectors from all over the index, the same for each call: to learn from."""
        num_rows = len(self.vectors)
        chosen = np.random.default_rng(0).choice(num_rows, size=min(count, num_rows), replace=False)
        return self.vectors.take(np.sort(chosen))

    def batches(self, size: int = BLOCK_ROWS) -> Iterator[Batch]:
        """Yield all rows with their vectors and stored columns, in order, so many at a time."""
        for start, vectors in self.vectors.blocks(size):
            columns = self.rows.table.slice(start, len(vectors)).to_pydict()
            yield Batch(start, vectors, columns)


class Settings(Section):
    """The settings of a backend: what ``poolwise index --setting KEY=VALUE`` sets.

    ``AT_SEARCH`` names those that may be changed for a search; the others are fixed when the index is built.
    """

    AT_SEARCH: ClassVar[frozenset[str]] = frozenset({"oversample"})

    oversample: int = Field(
        default=1, ge=1, description="times k candidates are fetched and scored again with the stored vectors"
    )

    def advice(self) -> str:
        """Return the options that raise the recall."""
        return f"--setting oversample={2 * self.oversample}"


class Searcher(Protocol):
    """An open backend. It may be used by several threads at a time."""

    def search(self, queries: Float[np.ndarray, "Q D"], k: int, matching: Filter | None) -> Found:
        """Return the best ``k`` of the matching rows for each query, by dot product; all rows where it is None.

        It may miss rows, or return fewer than k: ``Index`` then searches exactly for that query.

        Args:
            k: at most the number of rows.
        """
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


class Backend(Protocol):
    """One way to search vectors. What it makes is in the folder of an index, or in a database."""

    @property
    def name(self) -> str:
        """What ``--backend`` calls it."""
        ...

    @property
    def is_exact(self) -> bool:
        """It finds the very best rows always, so that its recall need not be measured."""
        ...

    @property
    def settings(self) -> type[Settings]:
        """The class of its settings."""
        ...

    def build(self, source: Source, folder: Path, settings: Any) -> None:
        """Write what the backend needs into an empty folder, or into a database; if it fails, leave nothing behind.

        Raises: ConfigError where a library or a server is missing; the message names what to install or to start.
        """
        ...

    def open(self, source: Source, folder: Path, settings: Any) -> Searcher:
        """Return the backend that ``build`` made, with the same source.

        Raises: ConfigError where a library or a server is missing; DataError where what it made is gone.
        """
        ...

    def discard(self, name: str, settings: Any) -> None:
        """Delete what ``build`` made outside the folder for the index of this name; its folder is replaced."""
        ...
