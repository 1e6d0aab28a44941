"""Exact search against sorting all scores: the same rows in the same order, with ties."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from poolwise.search.backends.exact import best_places, find_knn, search_blocks, search_exact
from poolwise.search.index_record import VECTORS
from poolwise.search.vectors import Vectors

DIM = 4


def reference(matrix: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers and scores of the best rows by a stable sort of all scores."""
    scores = queries @ matrix.T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(scores, rows, 1)


def draw(shape: tuple[int, int], high: int, seed: int) -> np.ndarray:
    """Return whole numbers as float32, whose products have no rounding: equal scores are equal."""
    return np.random.default_rng(seed).integers(-high, high + 1, shape).astype(np.float32)


@pytest.mark.parametrize("high", [1, 100])
@pytest.mark.parametrize(("count", "k"), [(1, 1), (7, 7), (63, 10), (130, 1), (5000, 10), (5000, 39), (5000, 700)])
@pytest.mark.parametrize("num_queries", [1, 3, 300])
def test_results_are_those_of_a_sort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, k: int, num_queries: int, high: int
) -> None:
    matrix, queries = draw((count, DIM), high, 1), draw((num_queries, DIM), high, 2)
    np.save(tmp_path / VECTORS, matrix)
    vectors = Vectors(tmp_path, "float32", DIM)
    rows, scores = reference(matrix, queries, k)
    for held in (1 << 21, 1000 * num_queries):  # one block, and several
        monkeypatch.setattr("poolwise.search.backends.exact.SCORES", held)
        for search in (search_exact, search_blocks):
            found = search(vectors, queries, k)
            np.testing.assert_array_equal(found.rows, rows)
            np.testing.assert_array_equal(found.scores, scores)
    some = np.flatnonzero(np.arange(count) % 3 == 0)
    among = search_exact(vectors, queries, 1, some)
    np.testing.assert_array_equal(among.rows, some[reference(matrix[some], queries, 1)[0]])


def test_the_best_are_found_wherever_they_are() -> None:
    rng = np.random.default_rng(0)
    for count in (640, 641, 6400):
        scores = rng.normal(size=count).astype(np.float32)
        for place in (0, count // 64, count - 1):
            scores[place] = 9
            assert best_places(scores, 1).tolist() == [place]
            scores[place] = 0


def test_faiss_and_numpy_give_the_same_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    find_knn.cache_clear()  # another test may have taken the library away
    assert find_knn() is not None or sys.platform == "darwin"
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(3000, 24)).astype(np.float32)
    matrix[1000:2000] = matrix[:1000]  # each of these twice, so that many results end within equal scores
    queries = rng.normal(size=(30, 24)).astype(np.float32)
    np.save(tmp_path / VECTORS, matrix)
    vectors = Vectors(tmp_path, "float32", 24)
    for some in (queries, queries[:1]):
        for k in (1, 10, 2999, 3000):
            found, wanted = search_exact(vectors, some, k), search_blocks(vectors, some, k)
            np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
            if k == 10:
                assert (found.rows == wanted.rows).mean() > 0.98  # products that differ in rounding may change places
    used: list[int] = []
    monkeypatch.setattr("poolwise.search.backends.exact.find_knn", lambda: used.append(1))
    search_exact(vectors, queries, 10)
    assert used == [1]
