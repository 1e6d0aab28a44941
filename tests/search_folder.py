"""Corpora and indexes for tests of search: vectors of a hash, without a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from corpus_folder import DIM, encode, encode_folder, vector, write_jsonl
from poolwise.corpus.engines import InThisProcess, ShardWriter
from poolwise.corpus.manifest import RANGES, Dtype, Output
from poolwise.corpus.quantise import find_ranges
from poolwise.corpus.rows import Columns
from poolwise.search import Index, build_index

WORDS = ("red", "green", "blue", "cat", "dog", "bird", "runs", "sleeps", "sings")


class FakeModel:
    """Encodes queries as the corpora of these tests are encoded."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([vector(text) for text in texts])


def texts_of(count: int) -> dict[str, str]:
    """Return so many texts by id: d0, d1 ..."""
    draw = np.random.default_rng(0)
    return {f"d{number}": f"{' '.join(draw.choice(WORDS, 4))} {number}" for number in range(count)}


def write_as(folder: Path, texts: dict[str, str], dtype: Dtype, *, shard_rows: int = 32, **output: Any) -> Path:
    """Encode texts into a folder in some dtype; int8 with the ranges of all their vectors."""
    source = write_jsonl(folder.with_suffix(".jsonl"), texts)
    ranges = None
    if dtype == "int8":
        folder.mkdir(parents=True)
        ranges = find_ranges(np.stack([vector(text) for text in texts.values()]))
        np.save(folder / RANGES, ranges)
    engine = InThisProcess(encode, ShardWriter(folder, Output(dim=DIM, dtype=dtype, **output), ranges))
    encode_folder(folder, [source], engine=engine, shard_rows=shard_rows, dtype=dtype, **output)
    return folder


def write_corpus(folder: Path, count: int = 30, *, shard_rows: int = 8, **output: Any) -> Path:
    """Encode a corpus with the fields ``lang`` (en, de) and ``year`` (2000 and up; every fifth row has none)."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "rows.jsonl"
    rows = [
        {"_id": key, "text": text, "lang": "en" if number % 3 else "de"}
        | ({"year": 2000 + number} if number % 5 else {})
        for number, (key, text) in enumerate(texts_of(count).items())
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = folder / "corpus"
    encode_folder(
        out, [source], columns=Columns(keep=("lang", "year")), shard_rows=shard_rows, keeps_text=True, **output
    )
    return out


def build(folder: Path, count: int = 30, corpus: dict[str, Any] | None = None, **options: Any) -> Index:
    """Return an index of such a corpus."""
    return build_index(write_corpus(folder, count, **(corpus or {})), folder / "index", **options)


def unit_matrix(texts: dict[str, str]) -> np.ndarray:
    """Return the vectors of texts, scaled to length 1 (N D)."""
    matrix = np.stack([vector(text) for text in texts.values()])
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
