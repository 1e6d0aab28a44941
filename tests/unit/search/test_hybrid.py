"""Hybrid search and reranking: fused and sorted as worked out by hand, and refused without what they need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_models
from poolwise.errors import ConfigError, ModelError
from poolwise.search import Index, build_index
from poolwise.search.hybrid import RRF, Words, fuse
from poolwise.search.rerank import load_reranker, sort_texts
from search_folder import FakeModel, build, texts_of


class Longest:
    """A cross-encoder that prefers long texts."""

    def predict(self, inputs: Sequence[tuple[str, str]], **_: Any) -> list[float]:
        return [float(len(text)) for _, text in inputs]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    found = build(tmp_path_factory.mktemp("hybrid"), 60, hybrid=True)
    found._encoder = FakeModel()  # type: ignore[assignment]
    return found


def test_ranks_are_fused_by_their_reciprocals() -> None:
    rows, scores = fuse([np.array([5, 3, 9]), np.array([3, 7])], 3)
    assert rows.tolist() == [3, 5, 7]
    assert scores == pytest.approx([1 / (RRF + 2) + 1 / (RRF + 1), 1 / (RRF + 1), 1 / (RRF + 2)])


def test_words_rank_texts_that_share_some(index: Index) -> None:
    rows = Words(index.path, len(index)).best("cat", 100, None)
    texts = list(texts_of(60).values())
    assert {texts[row] for row in rows} == {text for text in texts if "cat" in text.split()}
    assert len(Words(index.path, len(index)).best("cat", 2, None)) == 2
    assert Words(index.path, len(index)).best("nowhere", 5, None).tolist() == []
    matching = index.matching({"lang": "de"})
    assert matching is not None
    of_filter = Words(index.path, len(index)).best("cat", 100, matching)
    assert of_filter.tolist() == [row for row in rows.tolist() if row % 3 == 0]


def test_a_text_with_the_words_comes_up(index: Index) -> None:
    """The number in a text is a word of it alone, which a vector of a hash knows nothing of."""
    plain = [hit.id for hit in index.search("number 42", 60)[0]]
    found = index.search("number 42", 10, hybrid=True)[0]
    place = plain.index("d42") + 1
    assert place > 10
    (hit,) = [hit for hit in found if hit.id == "d42"]
    assert hit.score == pytest.approx(1 / (RRF + 1) + 1 / (RRF + place), abs=1e-6)
    assert len(found) == 10 and [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


def test_a_filter_holds_for_both_rankings(index: Index) -> None:
    (hits,) = index.search("cat 42 dog", 15, hybrid=True, where={"lang": "de"})
    assert len(hits) == 15
    assert {hit.fields["lang"] for hit in hits} == {"de"}
    assert index.search("cat", 5, hybrid=True, where={"lang": "fr"}) == [[]]


def test_a_cross_encoder_sorts_the_candidates_again(index: Index) -> None:
    plain = index.search("cat", 20)[0]
    (found,) = index.search("cat", 5, rerank=Longest(), rerank_depth=20)
    wanted = sorted(plain, key=lambda hit: -len(hit.text or ""))[:5]
    assert [hit.id for hit in found] == [hit.id for hit in wanted]
    assert [hit.score for hit in found] == [len(hit.text or "") for hit in wanted]
    # At least k candidates are read.
    assert len(index.search("cat", 30, rerank=Longest(), rerank_depth=2)[0]) == 30


def test_scores_that_are_not_finite_are_refused(index: Index) -> None:
    class Broken:
        def predict(self, inputs: Sequence[tuple[str, str]], **_: Any) -> list[float]:
            return [float("nan")] * len(inputs)

    with pytest.raises(ModelError, match=r"the cross-encoder gives \[nan, nan\] for 2 texts"):
        index.search("cat", 2, rerank=Broken(), rerank_depth=2)


def test_what_is_missing_is_named(tmp_path: Path, index: Index) -> None:
    plain = build(tmp_path, 10)
    plain._encoder = FakeModel()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"has no index of words; build it again: poolwise index --hybrid"):
        plain.search("cat", hybrid=True)
    for options in ({"hybrid": True}, {"rerank": Longest()}):
        with pytest.raises(ConfigError, match=r"of vectors; wanted queries that are texts"):
            index.search(np.ones((1, 8)), **options)  # type: ignore[arg-type]
    from corpus_folder import encode_folder, write_jsonl

    source = write_jsonl(tmp_path / "rows.jsonl", texts_of(5))
    encode_folder(tmp_path / "bare", [source])
    with pytest.raises(ConfigError, match="--hybrid with a corpus without texts; encode it again with --keep-text"):
        build_index(tmp_path / "bare", tmp_path / "bare-index", hybrid=True)
    encode_folder(tmp_path / "stops", [write_jsonl(tmp_path / "stops.jsonl", {"x": "the a"})], keeps_text=True)
    with pytest.raises(ConfigError, match="--hybrid: none of 1 stored texts has a word that BM25 counts"):
        build_index(tmp_path / "stops", tmp_path / "stops-index", hybrid=True)
    bare = build_index(tmp_path / "bare", tmp_path / "bare-index")
    bare._encoder = FakeModel()  # type: ignore[assignment]
    assert bare.search("cat", 1)[0][0].text is None
    with pytest.raises(ConfigError, match="stores no texts to rerank"):
        bare.search("cat", rerank=Longest())


def save_cross_encoder(folder: Path, num_labels: int) -> str:
    """Write a tiny random cross-encoder, and return its folder."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = tiny_models.tiny_tokenizer("qwen3")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        num_labels=num_labels,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_cross_encoder_is_loaded_by_its_folder(tmp_path: Path) -> None:
    name = save_cross_encoder(tmp_path / "one", 1)
    reranker = load_reranker(name, "cpu")
    texts = [*tiny_models.TEXTS]
    order, scores = sort_texts(reranker, "search", texts)
    alone = [float(reranker.predict([("search", text)], show_progress_bar=False)[0]) for text in texts]
    assert order == sorted(range(len(texts)), key=lambda place: -alone[place])
    assert scores == pytest.approx(sorted(alone, reverse=True), abs=1e-5)
    assert sort_texts(reranker, "search", [])[0] == []
    with pytest.raises(ModelError, match="gives 3 numbers per pair; wanted one"):
        load_reranker(save_cross_encoder(tmp_path / "three", 3), "cpu")
    with pytest.raises(ModelError, match=r"cross-encoder \./absent does not exist"):
        load_reranker("./absent")
    with pytest.raises(ModelError, match=r"cannot load .* as a cross-encoder"):
        load_reranker("no-such/cross-encoder")
