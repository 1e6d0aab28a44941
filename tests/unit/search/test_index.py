"""An index finds what a comparison with every vector finds, and says what is wrong with a query or a folder."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus_folder import DIM
from poolwise.errors import ConfigError, DataError
from poolwise.search import Index, build_index, index_record, open_index
from poolwise.search.index_record import INDEX, VECTORS
from search_folder import build, texts_of, unit_matrix, write_corpus

QUERIES = np.random.default_rng(1).normal(size=(7, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build(tmp_path_factory.mktemp("index"))


def brute_force(queries: np.ndarray, matrix: np.ndarray, k: int) -> list[list[str]]:
    scores = queries @ matrix.T
    return [[f"d{row}" for row in np.argsort(-line, kind="stable")[:k]] for line in scores]


def ids(results: Any) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in results]


def test_hits_are_those_of_a_comparison_with_every_vector(index: Index) -> None:
    matrix = unit_matrix(texts_of(30))
    results = index.search(QUERIES, k=4)
    assert ids(results) == brute_force(QUERIES, matrix, 4)
    best = results[0][0]
    query = QUERIES[0] / np.linalg.norm(QUERIES[0])
    assert best.score == pytest.approx(float(query @ matrix[int(best.id[1:])]), abs=1e-6)
    assert best.text == texts_of(30)[best.id]
    assert best.fields["lang"] in ("en", "de")


def test_the_dot_product_is_not_scaled(tmp_path: Path) -> None:
    index = build(tmp_path, similarity="dot")
    from corpus_folder import vector

    matrix = np.stack([vector(text) for text in texts_of(30).values()])
    results = index.search(QUERIES, k=3)
    assert ids(results) == brute_force(QUERIES, matrix, 3)
    assert ids(results) != brute_force(QUERIES, unit_matrix(texts_of(30)), 3)
    assert results[0][0].score == pytest.approx(float((QUERIES[0] @ matrix.T).max()), abs=1e-5)


@pytest.mark.parametrize("k", [30, 31, 1000])
def test_a_k_above_the_rows_returns_all_and_says_so(index: Index, k: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "poolwise"):
        (hits,) = index.search(QUERIES[:1], k=k)
    assert sorted(hit.id for hit in hits) == sorted(texts_of(30))
    told = [record.getMessage() for record in caplog.records]
    assert told == ([] if k == 30 else [f"k is {k}, but the index has 30 rows: all are returned"])


@pytest.mark.parametrize(
    ("queries", "k", "told"),
    [
        (np.ones((2, DIM + 1)), 1, r"the queries have the shape \(2, 9\); wanted vectors of 8 numbers"),
        (np.full((1, DIM), np.nan), 1, "not finite"),
        (np.ones((1, DIM)), 0, "k is 0; wanted 1 or more"),
        (["red", " "], 1, "query 2 is ' '; wanted a text that is not empty"),
        (["red", 7], 1, "query 2 is 7"),
    ],
)
def test_bad_queries_are_refused(index: Index, queries: Any, k: int, told: str) -> None:
    with pytest.raises((DataError, ConfigError), match=told):
        index.search(queries, k)


def test_no_queries_have_no_results(index: Index) -> None:
    assert index.search([], 3) == []
    assert index.search(np.empty((0, DIM)), 3) == []


def test_an_index_is_replaced_and_needs_no_corpus(tmp_path: Path) -> None:
    first = build(tmp_path, 10)
    before = ids(first.search(QUERIES, 2))
    (tmp_path / "corpus").rename(tmp_path / "gone")
    with open_index(tmp_path / "index") as again:
        assert ids(again.search(QUERIES, 2)) == before
    build_index(write_corpus(tmp_path / "more", 20), tmp_path / "index", replace=True).close()
    with open_index(tmp_path / "index") as replaced:
        assert len(replaced) == 20


def test_a_damaged_record_and_damaged_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path).close()
    folder = tmp_path / "index"
    whole = (folder / INDEX).read_text()
    changed = json.loads(whole)
    changed["model"]["max_tokens"] = 9
    for text, told in [
        (json.dumps(changed), "was changed or is damaged: its content does not have its checksum"),
        (whole[: len(whole) // 2], "cannot read .*index.json as IndexRecord"),
    ]:
        (folder / INDEX).write_text(text)
        with pytest.raises(DataError, match=told) as raised:
            open_index(folder)
        assert "poolwise index" in str(raised.value)
    (folder / INDEX).write_text(whole)
    raw = (folder / VECTORS).read_bytes()
    (folder / VECTORS).write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    open_index(folder, check=False).close()
    monkeypatch.setattr(index_record, "CHECKED_BYTES", len(raw) // 2)
    open_index(folder).close()
    for checked in (True, None):
        monkeypatch.undo()
        with pytest.raises(DataError, match=r"vectors.npy is damaged: its content does not have its checksum"):
            open_index(folder, check=checked)
    (folder / VECTORS).write_bytes(raw[:-4])
    with pytest.raises(DataError, match=r"vectors.npy is truncated or changed"):
        open_index(folder)
    (folder / VECTORS).unlink()
    with pytest.raises(DataError, match=r"vectors.npy is missing"):
        open_index(folder)


def test_a_folder_that_is_no_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no index.json; wanted a folder that poolwise index wrote"):
        open_index(tmp_path)


def test_vectors_that_are_not_finite_are_one_error(tmp_path: Path) -> None:
    build(tmp_path, backend="exact").close()
    path = tmp_path / "index" / VECTORS
    raw = path.read_bytes()
    path.write_bytes(raw[: -30 * DIM * 4] + b"\xff" * (30 * DIM * 4))  # the size, which is compared, stays
    with open_index(tmp_path / "index", check=False) as index, pytest.raises(DataError, match="the index is damaged"):
        index.search(QUERIES, k=3)
