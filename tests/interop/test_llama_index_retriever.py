"""The LlamaIndex retriever returns the rows of an index as nodes that lead back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chunk_index import QUERY, build_chunk_index, require_chunk
from poolwise.errors import ConfigError
from poolwise.search import Index
from support import ROOT

schema = pytest.importorskip("llama_index.core.schema", reason="needs llama-index-core (make interop)")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with build_chunk_index(tmp_path_factory.mktemp("llama-index")) as index:
        yield index


def retriever_of(index: Index, **options: Any) -> Any:
    from poolwise.search.llama_index import IndexRetriever

    return IndexRetriever(index, **options)


def test_nodes_are_the_rows_of_the_index(index: Index) -> None:
    hits = index.search(QUERY, 4)[0]
    found = retriever_of(index, k=4).retrieve(QUERY)
    assert [(node.node_id, node.text, node.score) for node in found] == [(hit.id, hit.text, hit.score) for hit in hits]
    for node in found:
        require_chunk(node.text, node.metadata)
        assert node.node.ref_doc_id == node.metadata["document"]
        places = (node.node.start_char_idx, node.node.end_char_idx)
        assert places == (node.metadata["start_char"], node.metadata["end_char"])


def test_conditions_and_the_asynchronous_call(index: Index) -> None:
    retriever = retriever_of(index, where={"document": "park"})
    found = asyncio.run(retriever.aretrieve(QUERY))
    assert [node.node_id for node in found] == [node.node_id for node in retriever.retrieve(QUERY)]
    assert len(found) > 1 and {node.metadata["document"] for node in found} == {"park"}


def test_an_index_without_texts_is_refused(tmp_path: Path) -> None:
    with build_chunk_index(tmp_path, keep_text=False) as index, pytest.raises(ConfigError, match="stores no texts"):
        retriever_of(index)


def test_the_block_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "how-to" / "vector-databases.md").read_text()
    (block,) = [text for text in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL) if "llama_index" in text]
    build_chunk_index(tmp_path).close()
    monkeypatch.chdir(tmp_path)
    (promised,) = re.findall(r"print\(.*\)  # (.*)", block)
    exec(block.replace('"open"', '"market"').replace("k=2", "k=1"), {})
    assert capsys.readouterr().out.splitlines()[-1].split()[1] == promised.replace("open", "market").split()[1]
