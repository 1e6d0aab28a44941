"""What training reads: triples of a query, a document that answers it, and documents that do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from poolwise.records import Category
from poolwise.storage.fingerprints import hash_texts


@dataclass(frozen=True, slots=True)
class Triple:
    """One training row. ``row`` is its line in the file (or its row in the table), counted from 1."""

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
    """One training source, read whole. ``fingerprint`` hashes its texts, whatever file format they came in."""

    name: str
    category: Category
    dialect: str
    triples: tuple[Triple, ...]
    fingerprint: str


@dataclass(frozen=True)
class TrainingData:
    """What a recipe trains on. By source name: fingerprint of the whole source, its dialect, the rows taken of it and
    all that it has.
    """

    triples: list[Triple]
    fingerprints: dict[str, str]
    dialects: dict[str, str]
    rows: dict[str, int]
    totals: dict[str, int]


def triples_fingerprint(triples: Iterable[Triple]) -> str:
    """Return the sha256 of all texts in order; where they were read from does not count."""
    return hash_texts(text for triple in triples for text in (str(len(triple.texts)), *triple.texts))
