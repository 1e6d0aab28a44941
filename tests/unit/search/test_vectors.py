"""Vectors of every stored dtype are searched as the numbers that they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus_folder import DIM, MODEL, vector
from poolwise.corpus.engines import ShardTask, ShardWriter
from poolwise.corpus.manifest import RANGES, Dtype, Manifest, Output, save_manifest
from poolwise.corpus.quantise import find_ranges, from_int8, to_stored
from poolwise.corpus.rows import Row, digest_of
from poolwise.search import Index, build_index
from poolwise.search.backends.exact import search_exact
from poolwise.search.vectors import inverse_lengths
from search_folder import texts_of

COUNT = 40
QUERIES = np.random.default_rng(3).normal(size=(6, DIM)).astype(np.float32)


def build(folder: Path, dtype: Dtype, **options: Any) -> tuple[Index, np.ndarray]:
    """Return an index of a corpus in this dtype, and the values that are stored, as numbers (N D)."""
    texts = texts_of(COUNT)
    matrix = np.stack([vector(text) for text in texts.values()])
    output, corpus = Output(dim=DIM, dtype=dtype), folder / "corpus"
    corpus.mkdir()
    ranges = find_ranges(matrix[:20]) if dtype == "int8" else None
    if ranges is not None:
        np.save(corpus / RANGES, ranges)
    rows = [Row(key, text, digest_of(text, ())) for key, text in texts.items()]
    writer = ShardWriter(corpus, output, ranges)
    shards = [
        writer.write(ShardTask(number, rows[start : start + 16], start, 0), matrix[start : start + 16]).record
        for number, start in enumerate(range(0, COUNT, 16))
    ]
    save_manifest(
        Manifest(
            model=MODEL,
            fingerprint=MODEL.fingerprint,
            output=output,
            is_complete=True,
            num_rows=COUNT,
            shards=shards,
        ),
        corpus,
    )
    stored = to_stored(matrix, dtype, ranges)
    if dtype == "int8":
        assert ranges is not None
        values = from_int8(stored, ranges)
    else:
        values = np.where(matrix > 0, 1.0, -1.0) if dtype == "binary" else stored.astype(np.float32)
    return build_index(corpus, folder / "index", **options), values.astype(np.float32)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "binary"])
def test_a_dtype_is_searched_by_what_it_stands_for(tmp_path: Path, dtype: Dtype, similarity: str) -> None:
    index, values = build(tmp_path, dtype, similarity=similarity)
    wanted = values
    queries = QUERIES
    if similarity == "cosine":
        wanted = values / np.linalg.norm(values, axis=1, keepdims=True)
        queries = QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True)
    np.testing.assert_allclose(index.vectors.take(np.arange(COUNT)), wanted, atol=1e-6)
    scores = np.sort(queries @ wanted.T, axis=1)[:, ::-1][:, :5]
    found = np.array([[hit.score for hit in hits] for hits in index.search(QUERIES, 5)])
    np.testing.assert_allclose(found, scores, atol=1e-5)


def test_of_equal_scores_the_lower_row_comes_first(tmp_path: Path) -> None:
    index, _ = build(tmp_path, "float32")
    index.vectors._raw = np.ones((COUNT, DIM), np.float32)  # type: ignore[assignment]
    found = search_exact(index.vectors, QUERIES, 5)
    assert found.rows.tolist() == [[0, 1, 2, 3, 4]] * len(QUERIES)
    some = search_exact(index.vectors, QUERIES, 3, np.array([4, 9, 11, 30]))
    assert some.rows.tolist() == [[4, 9, 11]] * len(QUERIES)


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, _ = build(tmp_path, "float32")
    whole = search_exact(index.vectors, QUERIES, 7)
    monkeypatch.setattr("poolwise.search.backends.exact.QUERY_ROWS", 2)
    monkeypatch.setattr("poolwise.search.backends.exact.SCORES", 6)
    parts = search_exact(index.vectors, QUERIES, 7)
    assert (parts.rows == whole.rows).all()
    np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-6)


def test_a_vector_of_zeros_has_no_direction() -> None:
    assert inverse_lengths(np.array([[0, 0], [3, 4]], np.float32)).tolist() == [1, pytest.approx(0.2)]


def test_ranges_go_with_the_index(tmp_path: Path) -> None:
    index, _ = build(tmp_path, "int8")
    names = {file["name"] for file in json.loads((index.path / "index.json").read_text())["files"]}
    assert names == {"vectors.npy", "rows.arrow", "ranges.npy", "scales.npy"}
