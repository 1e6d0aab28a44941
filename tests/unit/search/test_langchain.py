"""The LangChain retriever returns the rows of an index as documents that lead back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunk_index import QUERY, build_chunk_index, require_chunk
from poolwise.errors import ConfigError
from poolwise.search import Index
from poolwise.search.langchain import IndexRetriever


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with build_chunk_index(tmp_path_factory.mktemp("langchain")) as index:
        yield index


def test_documents_are_the_rows_of_the_index(index: Index) -> None:
    hits = index.search(QUERY, 4)[0]
    documents = IndexRetriever(index=index, k=4).invoke(QUERY)
    assert [(document.id, document.page_content) for document in documents] == [(hit.id, hit.text) for hit in hits]
    assert [document.metadata.pop("score") for document in documents] == [hit.score for hit in hits]
    for document in documents:
        require_chunk(document.page_content, document.metadata)


def test_conditions_and_the_asynchronous_call(index: Index) -> None:
    retriever = IndexRetriever(index=index, where={"document": "park"})
    documents = asyncio.run(retriever.ainvoke(QUERY))
    assert documents == retriever.invoke(QUERY)
    assert len(documents) == len(index.search(QUERY, 10, where={"document": "park"})[0]) > 1
    assert {document.metadata["document"] for document in documents} == {"park"}


def test_an_index_without_texts_is_refused(tmp_path: Path) -> None:
    with build_chunk_index(tmp_path, keep_text=False) as index, pytest.raises(ConfigError, match="stores no texts"):
        IndexRetriever(index=index)
