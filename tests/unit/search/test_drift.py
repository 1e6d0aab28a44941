"""How much neighbours change, as worked out by hand, and between indexes and models that are alike or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiny_models
from corpus_folder import DIM, write_jsonl
from poolwise.corpus import CorpusConfig, encode_corpus
from poolwise.corpus.rows import Columns
from poolwise.errors import ConfigError, DataError
from poolwise.models import EmbeddingModel, build_model
from poolwise.search import Index, build_index
from poolwise.search.drift import (
    DEPTH,
    PERSISTENCE,
    _change,
    compare_indexes,
    compare_models,
    rank_biased_overlap,
)
from search_folder import FakeModel, build

QUERIES = [(f"q{number}", f"query {number}") for number in range(12)]


def with_fake(index: Index) -> Index:
    index._encoder = FakeModel()  # type: ignore[assignment]
    return index


def test_rank_biased_overlap_is_that_of_the_paper() -> None:
    assert rank_biased_overlap("abc", "abc") == pytest.approx(1)
    assert rank_biased_overlap("abc", "xyz") == 0
    p = PERSISTENCE
    # Prefixes of one, two and three share 0, 2 and 2.
    by_hand = 2 / 3 * p**3 + (1 - p) / p * (0 * p + 2 / 2 * p**2 + 2 / 3 * p**3)
    assert rank_biased_overlap("abc", "bad") == pytest.approx(by_hand)


def test_a_change_names_what_goes_and_comes() -> None:
    found = _change(("q", "text"), ["a", "b", "c"], ["b", "x", "c", "y", "a"], 3, 5)
    assert (found.lost, found.gained) == (("a",), ("x",))
    assert found.overlap == pytest.approx(2 / 3)
    assert found.displaced == pytest.approx((4 + 1 + 0) / 3)
    gone = _change(("q", "text"), ["z"], ["b", "x"], 1, 2)
    assert gone.displaced == 2  # from rank 1 to the rank after the two that were looked at


def test_equal_indexes_do_not_drift(tmp_path: Path) -> None:
    old, new = (with_fake(build(tmp_path / name, 40)) for name in ("old", "new"))
    found = compare_indexes(old, new, QUERIES, 5)
    assert (found.overlap.value, found.displaced.value) == (1, 0)
    assert found.rbo.value == pytest.approx(1)
    assert found.overlap.interval == (1, 1)
    assert (found.num_rows, found.num_only_old, found.num_only_new, found.depth) == (40, 0, 0, 40)


def test_other_vectors_drift_and_the_worst_query_comes_first(tmp_path: Path) -> None:
    old, new = (with_fake(build(tmp_path / name, 300)) for name in ("old", "new"))
    noise = np.random.default_rng(0).normal(size=(300, DIM)).astype(np.float32) * 0.2
    new.vectors._raw = np.asarray(new.vectors._raw) + noise  # type: ignore[assignment]
    found = compare_indexes(old, new, QUERIES, 10)
    assert 0.2 < found.overlap.value < 0.95
    low, high = found.overlap.interval or (0, 0)
    assert low < found.overlap.value < high
    assert found.depth == DEPTH
    ranks = [query.rbo for query in found.queries]
    assert ranks == sorted(ranks) and found.rbo.value == pytest.approx(np.mean(ranks))
    worst = found.queries[0]
    assert len(worst.lost) == len(worst.gained) == round(10 * (1 - worst.overlap))


def test_rows_of_one_index_alone_are_left_out(tmp_path: Path) -> None:
    old, new = with_fake(build(tmp_path / "old", 40)), with_fake(build(tmp_path / "new", 25))
    found = compare_indexes(old, new, QUERIES[:3], 5)
    assert (found.num_rows, found.num_only_old, found.num_only_new) == (25, 15, 0)
    assert found.overlap.value == 1
    assert found.overlap.interval is None


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    from corpus_folder import encode_folder

    old = with_fake(build(tmp_path / "old", 10))
    source = write_jsonl(tmp_path / "rows.jsonl", {"x": "red"})
    encode_folder(tmp_path / "other", [source])
    other = with_fake(build_index(tmp_path / "other", tmp_path / "other-index"))
    with pytest.raises(DataError, match="share no row: 'd0' and 'x' are ids of theirs"):
        compare_indexes(old, other, QUERIES)
    with pytest.raises(ConfigError, match="k is 0"):
        compare_indexes(old, old, QUERIES, 0)
    with pytest.raises(ConfigError, match="stores no texts to encode with another model"):
        compare_models("old", "new", other.path, QUERIES)


TEXTS = {f"d{number}": text for number, text in enumerate((*tiny_models.TEXTS, *tiny_models.WORDS))}


def test_a_model_is_compared_before_the_corpus_is_encoded_with_it(tmp_path: Path) -> None:
    base = tiny_models.save_tiny_base(tmp_path / "llama", "llama")

    def model(design: str) -> EmbeddingModel:
        return build_model(design, base, max_tokens=32, precision="fp32")

    source = write_jsonl(tmp_path / "rows.jsonl", TEXTS)
    encode_corpus(
        model("mean+causal"), [str(source)], tmp_path / "corpus", CorpusConfig(keep_text=True, columns=Columns())
    )
    build_index(tmp_path / "corpus", tmp_path / "index").close()
    asked = [("a", "a dog runs"), ("b", "how do i sort")]
    same = compare_models(model("mean+causal"), model("mean+causal"), tmp_path / "index", asked, 3)
    assert (same.overlap.value, same.num_rows) == (1, len(TEXTS))
    other = compare_models(model("mean+causal"), model("last+causal"), tmp_path / "index", asked, 3, most_documents=10)
    assert other.overlap.value < 1
    assert 10 <= other.num_rows <= 16 and other.num_only_old == len(TEXTS) - other.num_rows
    with pytest.raises(ConfigError, match="built with another model: pooling 'mean' there, 'last' now"):
        compare_models(model("last+causal"), model("mean+causal"), tmp_path / "index", asked, 3)
