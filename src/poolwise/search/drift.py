"""Drift: how much the neighbours of queries change between two indexes, or two models, before one switches."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from poolwise.errors import ConfigError, DataError
from poolwise.search.build import build_index
from poolwise.search.index import Index, open_index
from poolwise.search.recall import sample_rows
from poolwise.search.stored_rows import ID, TEXT
from poolwise.search.where import Filter
from poolwise.stats.core.bootstrap import MIN_ITEMS, bca_interval, bootstrap_means
from poolwise.stats.core.resampling import generator

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PERSISTENCE = 0.9
"""Of rank-biased overlap: the first ten ranks then have 86% of the weight."""
DEPTH = 100
"""Ranks that are looked at in the new index, or ten times k: a row beyond counts as the rank after."""
MOST_DOCUMENTS = 10_000
LEVEL, NUM_RESAMPLES = 0.95, 10_000
Query = tuple[str, str]


@dataclass(frozen=True)
class Mean:
    """A mean over the queries with its 95% interval (BCa bootstrap); None for fewer than 10 queries."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class QueryDrift:
    """How the best k of one query change.

    Args:
        overlap: share of the old best k that the new best k has, 0 to 1.
        rbo: rank-biased overlap, 0 to 1.
        displaced: by how many ranks the old best k move, on average.
        lost: ids of the old best k that the new has not, best first; ``gained`` the other way round.
    """

    id: str
    text: str
    overlap: float
    rbo: float
    displaced: float
    lost: tuple[str, ...]
    gained: tuple[str, ...]


@dataclass(frozen=True)
class Drift:
    """How much neighbours change.

    Args:
        depth: ranks that were looked at; a row beyond counts as displaced to the rank after.
        num_rows: rows that both indexes have; the search is among these.
        num_only_old: rows of the old index that the new lacks; ``num_only_new`` the other way round.
        queries: those that change most first, by rank-biased overlap.
    """

    k: int
    depth: int
    num_rows: int
    num_only_old: int
    num_only_new: int
    overlap: Mean
    rbo: Mean
    displaced: Mean
    queries: tuple[QueryDrift, ...]


def compare_indexes(old: Index, new: Index, queries: Sequence[Query], k: int = 10) -> Drift:
    """Return how much the best k of queries change from one index to another, among the rows that both have.

    Args:
        queries: (id, text) of each; every index encodes them with its own model.
    Raises: ConfigError for a k below 1; DataError where the indexes share no row; as ``Index.search``.
    """
    if k < 1:
        raise ConfigError(f"k is {k}", "wanted 1 or more")
    shared = old.rows.places.keys() & new.rows.places.keys()
    if not shared:
        raise DataError(
            f"{old.path} and {new.path} share no row: {next(iter(old.rows.places))!r} and "
            f"{next(iter(new.rows.places))!r} are ids of theirs",
            "wanted two indexes of the same corpus",
        )
    k = min(k, len(shared))
    depth = min(max(DEPTH, 10 * k), len(shared))
    texts = [text for _, text in queries]
    before = _ranked(old, texts, k, shared)
    after = _ranked(new, texts, depth, shared)
    changes = [_change(query, first, then, k, depth) for query, first, then in zip(queries, before, after, strict=True)]
    means = [
        _mean(name, np.array([getattr(change, name) for change in changes])) for name in ("overlap", "rbo", "displaced")
    ]
    return Drift(
        k=k,
        depth=depth,
        num_rows=len(shared),
        num_only_old=len(old) - len(shared),
        num_only_new=len(new) - len(shared),
        overlap=means[0],
        rbo=means[1],
        displaced=means[2],
        queries=tuple(sorted(changes, key=lambda change: change.rbo)),
    )


def compare_models(
    old: str | Path | SentenceTransformer,
    new: str | Path | SentenceTransformer,
    index: str | Path,
    queries: Sequence[Query],
    k: int = 10,
    *,
    most_documents: int = MOST_DOCUMENTS,
    device: str | None = None,
) -> Drift:
    """Return how much the best k of queries would change if a corpus were encoded with another model.

    The stored texts of the index are encoded with the new model: all of them, or a sample with the old best rows of
    every query.

    Args:
        old: the model of the index, which encodes the queries for it.
        index: of a corpus whose texts are stored.
        most_documents: the size of the sample.
    Raises: ConfigError where the index stores no texts, or ``old`` is not its model; ModelError where a model cannot be
        loaded.
    """
    with closing(open_index(index, model=old, device=device)) as before, tempfile.TemporaryDirectory() as scratch:
        if not before.record.keeps_text:
            raise ConfigError(
                f"{index} stores no texts to encode with another model",
                hint="encode the corpus with --keep-text and index it again; or give two indexes",
            )
        best = before.find(before.encode([text for _, text in queries]), min(k, len(before))).rows
        sample = np.union1d(best, sample_rows(len(before), most_documents))
        with closing(_encoded(before, sample, new, Path(scratch), device)) as after:
            return compare_indexes(before, after, queries, k)


def _encoded(
    index: Index,
    rows: Int[np.ndarray, " n"],
    model: str | Path | SentenceTransformer,
    scratch: Path,
    device: str | None,
) -> Index:
    """Return an index of some rows of another, encoded with a model."""
    from poolwise.corpus import CorpusConfig, encode_corpus

    source = scratch / "rows.jsonl"
    with source.open("w", encoding="utf-8") as file:
        for row in index.rows.rows(rows):
            file.write(json.dumps({"_id": row[ID], "text": row[TEXT]}) + "\n")
    name = str(model) if isinstance(model, Path) else model
    encode_corpus(name, [str(source)], scratch / "corpus", CorpusConfig(device=device, is_strict=True))
    return build_index(scratch / "corpus", scratch / "index", backend="exact", model=model, device=device)


def _ranked(index: Index, texts: Sequence[str], depth: int, shared: set[str]) -> list[list[str]]:
    """Return the ids of the best rows of each query among the shared ones."""
    matching = None
    if len(shared) < len(index):
        is_match = np.array([key in shared for key in index.rows.places])
        matching = Filter((), is_match)
    found = index.find(index.encode(texts), depth, matching)
    return [index.rows.column(ID, rows) for rows in found.rows]


def _change(query: Query, before: Sequence[str], after: Sequence[str], k: int, depth: int) -> QueryDrift:
    places = {key: rank for rank, key in enumerate(after)}
    best = after[:k]
    moved = [abs(places.get(key, depth) - rank) for rank, key in enumerate(before)]
    return QueryDrift(
        id=query[0],
        text=query[1],
        overlap=len(set(before) & set(best)) / k,
        rbo=rank_biased_overlap(before, best),
        displaced=float(np.mean(moved)),
        lost=tuple(key for key in before if key not in best),
        gained=tuple(key for key in best if key not in before),
    )


def rank_biased_overlap(first: Sequence[str], second: Sequence[str], persistence: float = PERSISTENCE) -> float:
    """Return the extrapolated rank-biased overlap of two rankings of equal length: 0 for disjoint ones, 1 for equal.

    Source: Webber, Moffat and Zobel, "A similarity measure for indefinite rankings", TOIS 2010, equation 30.
    """
    seen_first: set[str] = set()
    seen_second: set[str] = set()
    total, shared = 0.0, 0
    for depth, (one, other) in enumerate(zip(first, second, strict=True), start=1):
        seen_first.add(one)
        seen_second.add(other)
        shared = len(seen_first & seen_second)
        total += shared / depth * persistence**depth
    return shared / len(first) * persistence ** len(first) + (1 - persistence) / persistence * total


def _mean(name: str, values: Float[np.ndarray, " Q"]) -> Mean:
    mean = float(values.mean())
    if len(values) < MIN_ITEMS:
        return Mean(mean, None)
    drawn = bootstrap_means(values[:, None], np.arange(len(values)), NUM_RESAMPLES, generator(0, "drift", name))
    return Mean(mean, bca_interval(drawn[:, 0], mean, values, LEVEL))
