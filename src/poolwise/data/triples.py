"""Training triples: a query, a document that answers it, and documents that do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from poolwise.records import Category
from poolwise.storage.fingerprints import hash_texts


@dataclass(frozen=True, slots=True)
class Triple:
    """One training row. ``row`` is its line number in the file (or its row number in the table), from 1."""

    query: str
    positive: str
    negatives: tuple[str, ...]
    source: str
    row: int

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text of the row: query, positive, negatives."""
        return (self.query, self.positive, *self.negatives)


@dataclass(frozen=True)
class Source:
    """All rows of one training source. ``fingerprint`` hashes its texts; the file format does not matter."""

    name: str
    category: Category
    dialect: str
    triples: tuple[Triple, ...]
    fingerprint: str


@dataclass(frozen=True)
class TrainingData:
    """The training data of a recipe. By source name: fingerprint of the whole source, its dialect, the number of rows
    used and the number of all rows.
    """

    triples: list[Triple]
    fingerprints: dict[str, str]
    dialects: dict[str, str]
    rows: dict[str, int]
    totals: dict[str, int]


def triples_fingerprint(triples: Iterable[Triple]) -> str:
    """Return the sha256 of all texts in order; the files they come from do not matter."""
    return hash_texts(text for triple in triples for text in (str(len(triple.texts)), *triple.texts))
