"""What training reads: triples of a query, a document that answers it, and documents that do not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from poolwise.records import Category


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
    """What a recipe trains on. By source name: fingerprint of the whole source, its dialect, the rows taken of it."""

    triples: list[Triple]
    fingerprints: dict[str, str]
    dialects: dict[str, str]
    rows: dict[str, int]


def triples_fingerprint(triples: Iterable[Triple]) -> str:
    """Return the sha256 of all texts in order; where they were read from does not count."""
    digest = hashlib.sha256()
    for triple in triples:
        # Lengths keep texts apart: ("ab", "c") and ("a", "bc") hash differently.
        for text in (str(len(triple.texts)), *triple.texts):
            raw = text.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()
