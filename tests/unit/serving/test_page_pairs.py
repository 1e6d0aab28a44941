"""Pairs of texts on which two models disagree, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from poolwise.serving.page_pairs import MOST_PAIRS, compare_pairs, cosine_matrix


def matrix(*pairs: float) -> np.ndarray:
    """Return the similarities of three or four texts from those of their pairs, in order."""
    size = {1: 2, 3: 3, 6: 4, 15: 6}[len(pairs)]
    found = np.zeros((size, size))
    found[np.triu_indices(size, k=1)] = pairs
    return found + found.T + np.eye(size)


def test_the_pair_whose_rank_moves_most_comes_first() -> None:
    found = compare_pairs(matrix(0.99, 0.98, 0.97), matrix(0.1, 0.5, 0.3))
    assert [(pair.first, pair.second, pair.rank) for pair in found.pairs] == [
        (0, 1, (1.0, 3.0)),
        # Both move by one rank; the second one by more in similarity.
        (1, 2, (3.0, 2.0)),
        (0, 2, (2.0, 1.0)),
    ]
    assert found.pairs[0].similarity == (0.99, 0.1)
    assert found.num_pairs == 3 and found.agreement == pytest.approx(-0.5)


def test_another_scale_is_no_disagreement() -> None:
    found = compare_pairs(matrix(0.9, 0.95, 0.99), matrix(-0.5, 0.0, 0.7))
    assert found.pairs == () and found.agreement == pytest.approx(1)


def test_equal_pairs_share_a_rank_and_rounding_moves_none() -> None:
    found = compare_pairs(matrix(0.5, 0.5 + 1e-9, 0.1), matrix(0.8, 0.8, 0.2))
    assert found.pairs == () and found.agreement == pytest.approx(1)
    assert compare_pairs(matrix(0.5, 0.5, 0.5), matrix(0.1, 0.2, 0.3)).agreement is None


def test_two_texts_have_one_pair_and_no_correlation() -> None:
    found = compare_pairs(matrix(0.5), matrix(0.9))
    assert (found.pairs, found.num_pairs, found.agreement) == ((), 1, None)


def test_only_some_pairs_are_shown() -> None:
    values = np.linspace(0.1, 0.9, 15)
    assert len(compare_pairs(matrix(*values), matrix(*values[::-1])).pairs) == MOST_PAIRS


def test_cosine_of_an_embedding_without_length_is_zero() -> None:
    found = cosine_matrix(np.array([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]], np.float32))
    np.testing.assert_allclose(found, [[1, 0, 1], [0, 0, 0], [1, 0, 1]])
