"""LangChain, LlamaIndex and Haystack load a stock export and give its golden vectors."""

from __future__ import annotations

import os

import numpy as np
import pytest

from poolwise.export import export_model
from poolwise.export.golden import load_golden
from toy_exports import moved_model
from winner_page import blocks, run_python

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")
PACKAGES = {
    "langchain_huggingface": "langchain-huggingface",
    "llama_index.embeddings.huggingface": "llama-index-embeddings-huggingface",
    "haystack_integrations.components.embedders.sentence_transformers": "haystack-ai sentence-transformers-haystack",
}
TOLERANCE = 1e-5


def needed(module: str):
    """Return a framework's module; skip, with the reason, where it is not installed."""
    return pytest.importorskip(module, reason=f"needs {PACKAGES[module]} (make interop)")


@pytest.fixture(scope="module", params=["mean+bidirectional", "last+causal", "mean(dim=64)+causal"])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("interop")
    export_model(
        moved_model(request.param, "poolwise/nano", max_tokens=64), "sentence-transformers", folder / "my-model"
    )
    return folder / "my-model"


def golden(folder, prompt_name):
    """Return the texts and golden vectors of one prompt."""
    found = load_golden(folder)
    places = [place for place, probe in enumerate(found.record.texts) if probe.prompt_name == prompt_name]
    assert places
    return [found.record.texts[place].text for place in places], found.vectors[places]


def assert_equal(found, wanted) -> None:
    assert np.abs(np.array(found, dtype=np.float32) - wanted).max() < TOLERANCE


def test_langchain(exported) -> None:
    langchain = needed("langchain_huggingface")
    embeddings = langchain.HuggingFaceEmbeddings(
        model_name=str(exported),
        encode_kwargs={"prompt_name": "document"},
        query_encode_kwargs={"prompt_name": "query"},
    )
    texts, wanted = golden(exported, "document")
    assert_equal(embeddings.embed_documents(texts), wanted)
    texts, wanted = golden(exported, "query")
    assert_equal([embeddings.embed_query(text) for text in texts], wanted)
    plain = langchain.HuggingFaceEmbeddings(model_name=str(exported))
    texts, wanted = golden(exported, None)
    one_line = [place for place, text in enumerate(texts) if "\n" not in text]  # it replaces line breaks by spaces
    assert_equal(plain.embed_documents([texts[place] for place in one_line]), wanted[one_line])


def test_llama_index(exported) -> None:
    llama_index = needed("llama_index.embeddings.huggingface")
    with_prompts = llama_index.HuggingFaceEmbedding(
        str(exported), query_instruction="search query: ", text_instruction="document: "
    )
    texts, wanted = golden(exported, "query")
    assert_equal([with_prompts.get_query_embedding(text) for text in texts], wanted)
    texts, wanted = golden(exported, "document")
    assert_equal(with_prompts.get_text_embedding_batch(texts), wanted)
    texts, wanted = golden(exported, None)
    assert_equal(llama_index.HuggingFaceEmbedding(str(exported)).get_text_embedding_batch(texts), wanted)


def test_haystack(exported) -> None:
    haystack = needed("haystack_integrations.components.embedders.sentence_transformers")
    from haystack import Document

    for name in (None, "query"):
        options = {"encode_kwargs": {"prompt_name": name}} if name else {}
        embedder = haystack.SentenceTransformersTextEmbedder(model=str(exported), progress_bar=False, **options)
        embedder.warm_up()
        texts, wanted = golden(exported, name)
        assert_equal([embedder.run(text)["embedding"] for text in texts], wanted)
    embedder = haystack.SentenceTransformersDocumentEmbedder(
        model=str(exported), progress_bar=False, encode_kwargs={"prompt_name": "document"}
    )
    embedder.warm_up()
    texts, wanted = golden(exported, "document")
    documents = embedder.run([Document(content=text) for text in texts])["documents"]
    assert_equal([document.embedding for document in documents], wanted)


@pytest.mark.parametrize("block", [block for block in blocks() if block.framework], ids=lambda block: block.framework)
def test_the_blocks_of_the_page_run(block, tmp_path) -> None:
    needed(next(module for module in PACKAGES if module.startswith(block.framework)))
    model = moved_model("mean+bidirectional", "poolwise/nano", max_tokens=64)
    export_model(model, "sentence-transformers", tmp_path / "my-model")
    assert run_python(block.code, tmp_path).splitlines()[-1] == block.promised
