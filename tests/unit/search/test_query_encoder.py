"""Queries are encoded as the model's ``encode_query`` does, and those of another model are refused by what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_models
from corpus_folder import write_jsonl
from poolwise.corpus import CorpusConfig, encode_corpus
from poolwise.corpus.rows import Columns
from poolwise.errors import ConfigError
from poolwise.models import EmbeddingModel, build_model
from poolwise.search import build_index, open_index

TEXTS = {f"d{number}": text for number, text in enumerate((*tiny_models.TEXTS, *tiny_models.WORDS))}
PROMPTS = {"document": "document : ", "query": "query : "}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_models.save_tiny_base(tmp_path_factory.mktemp("bases") / "llama", "llama")


def build(base: str, design: str = "mean+bidirectional", **options: Any) -> EmbeddingModel:
    given = {"max_tokens": 32, "precision": "fp32", "prompts": PROMPTS, **options}
    return build_model(design, base, **given)


@pytest.fixture(scope="module")
def saved(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    build(base).save(str(folder))
    return folder


@pytest.fixture(scope="module")
def corpus(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    source = write_jsonl(folder / "rows.jsonl", TEXTS)
    config = CorpusConfig(precision="fp32", device="cpu", columns=Columns(), shard_rows=9)
    encode_corpus(str(saved), [str(source)], folder / "corpus", config)
    return folder / "corpus"


@pytest.fixture(scope="module")
def index(corpus: Path) -> Path:
    build_index(corpus, corpus.parent / "index").close()
    return corpus.parent / "index"


def test_queries_are_encoded_by_the_model_of_the_corpus(base: str, index: Path) -> None:
    model = build(base)
    queries = ["how do i sort a list", "a dog"]
    scores = model.encode_query(queries) @ model.encode_document(list(TEXTS.values())).T
    with open_index(index, device="cpu") as opened:
        assert opened.record.query_prompt == "query : "
        found = opened.search(queries, 3)
        assert [[hit.id for hit in hits] for hits in found] == [
            [f"d{row}" for row in np.argsort(-line)[:3]] for line in scores
        ]
        assert found[0][0].score == pytest.approx(float(scores[0].max()), abs=1e-5)
        assert [hit.id for hit in opened.search("a dog", 3)[0]] == [hit.id for hit in found[1]]


def test_a_loaded_model_encodes_too(base: str, index: Path) -> None:
    with open_index(index, model=build(base)) as opened, open_index(index, device="cpu") as named:
        first, second = opened.search("a dog", 2)[0], named.search("a dog", 2)[0]
        assert [hit.id for hit in first] == [hit.id for hit in second]
        assert [hit.score for hit in first] == pytest.approx([hit.score for hit in second], abs=1e-5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_tokens": 16}, "max_tokens 32 there, 16 now"),
        ({"design": "last+bidirectional"}, "pooling 'mean' there, 'last' now"),
        ({"design": "mean+causal"}, "attention 'bidirectional' there, 'causal' now"),
        ({"prompts": {**PROMPTS, "query": "search : "}}, "query prompt 'query : ' there, 'search : ' now"),
        ({"precision": "bf16"}, "precision 'fp32' there, 'bf16' now"),
        ({"weights": True}, "weights '"),
    ],
)
def test_another_model_is_refused_by_what_differs(base: str, index: Path, change: Any, told: str) -> None:
    is_changed = "weights" in change
    other = build(base, **{key: value for key, value in change.items() if key != "weights"})
    if is_changed:
        other[0].model.embed_tokens.weight.data[5] += 1
    with open_index(index, model=other) as opened, pytest.raises(ConfigError) as raised:
        opened.search("a dog")
    message = str(raised.value)
    assert message.startswith(f"{index} was built with another model: ") and told in message
    assert "give that model with --model" in message


def test_another_prompt_of_documents_does_not_matter(base: str, index: Path) -> None:
    with open_index(index, model=build(base, prompts={**PROMPTS, "document": "one : "})) as opened:
        assert len(opened.search("a dog", 2)[0]) == 2


def test_a_prompt_may_be_given_when_the_index_is_built(base: str, corpus: Path, tmp_path: Path) -> None:
    model = build(base)
    with build_index(corpus, tmp_path / "index", query_prompt="one : ", model=model) as index:
        found = index.encode("a dog")
    np.testing.assert_allclose(found, model.encode(["a dog"], prompt="one : "), atol=1e-5)


def test_a_model_without_a_name_must_be_given(base: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", TEXTS)
    encode_corpus(build(base), [str(source)], tmp_path / "corpus", CorpusConfig())
    index = build_index(tmp_path / "corpus", tmp_path / "index")
    with pytest.raises(ConfigError, match="built with a model that had no name; wanted the model"):
        index.search("a dog")


def test_shortened_embeddings_are_searched_with_shortened_queries(base: str, tmp_path: Path) -> None:
    model = build(base)
    model[0].matryoshka = (8, 32)
    source = write_jsonl(tmp_path / "rows.jsonl", TEXTS)
    encode_corpus(model, [str(source)], tmp_path / "corpus", CorpusConfig(dim=8))
    with build_index(tmp_path / "corpus", tmp_path / "index", model=model) as index:
        found = index.encode(["a dog"])
    cut = model.encode_query(["a dog"])[:, :8]
    np.testing.assert_allclose(found, cut / np.linalg.norm(cut), atol=1e-5)
