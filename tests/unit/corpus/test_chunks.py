"""Chunks by hand: windows of words that overlap, and the way back to the document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from corpus_folder import encode_folder, stored, vector, write_jsonl
from poolwise.corpus.chunks import Chunker, Chunking, parse_chunking
from poolwise.corpus.manifest import load_manifest
from poolwise.corpus.rows import Row
from poolwise.corpus.shards import load_shard
from poolwise.errors import ConfigError


class Words:
    """A tokenizer whose tokens are words."""

    is_fast = True

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        return {"offset_mapping": [found.span() for found in re.finditer(r"\S+", text)]}


def chunker(tokens: int = 5, overlap: int = 1, max_tokens: int = 9, **options: Any) -> Chunker:
    # Two tokens of each text are special: three words to a chunk.
    return Chunker(Chunking(tokens, overlap), Words(), 2, max_tokens, **options)


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("a b", ["a b"]),
        (" a b c ", [" a b c "]),
        ("a bb  c d", ["a bb  c", "c d"]),
        ("a b c d e f ", ["a b c", "c d e", "e f "]),
        ("\u200b", ["\u200b"]),
    ],
)
def test_chunks_by_hand(text: str, chunks: list[str]) -> None:
    rows = list(chunker().split(Row("doc", text, "x")))
    assert [row.text for row in rows] == chunks
    assert [row.id for row in rows] == [f"doc#{number}" for number in range(len(chunks))]
    for row in rows:
        assert row.span is not None
        assert row.text == text[row.span.start_char : row.span.end_char]
        assert row.span.is_last == (row is rows[-1])


def test_token_places_overlap() -> None:
    spans = [row.span for row in chunker().split(Row("doc", "a b c d e f", "x"))]
    assert [(span.start_token, span.end_token) for span in spans if span] == [(0, 3), (2, 5), (4, 6)]


def test_a_chunk_that_is_pooled_from_the_document_changes_with_it() -> None:
    def digests(text: str, *, depends: bool) -> list[str]:
        return [row.digest for row in chunker(depends_on_document=depends).split(Row("doc", text, "x"))]

    before, after = "a b c d e", "a b c d f"
    assert digests(before, depends=False)[0] == digests(after, depends=False)[0]
    assert not set(digests(before, depends=True)) & set(digests(after, depends=True))


@pytest.mark.parametrize(("text", "found"), [("tokens=256,overlap=32", (256, 32)), ("tokens=8", (8, 0))])
def test_a_chunking_is_written_as_it_prints(text: str, found: tuple[int, int]) -> None:
    chunking = parse_chunking(text)
    assert (chunking.tokens, chunking.overlap) == found
    assert parse_chunking(str(chunking)) == chunking


@pytest.mark.parametrize("text", ["256", "tokens=a", "overlap=3", "tokens=4,overlap=4", "tokens=0"])
def test_other_chunkings_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="wanted"):
        parse_chunking(text)


def test_chunks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="chunks of 10 tokens, but the model reads 9"):
        chunker(10)
    with pytest.raises(ConfigError, match="2 of each are BOS, prompt and EOS"):
        chunker(4, 2)


def test_a_corpus_of_chunks_leads_back_to_its_documents(tmp_path: Path) -> None:
    texts = {"x": "a b c d", "y": "e", "x#0": "f g"}
    out = tmp_path / "out"
    source = write_jsonl(tmp_path / "c.jsonl", texts)
    encode_folder(out, [source], chunker=chunker(), chunks="tokens=5,overlap=1")
    chunks = {"x#0": "a b c", "x#1": "c d", "y#0": "e", "x#0#0": "f g"}
    assert dict(stored(out)) == {key: vector(text).tolist() for key, text in chunks.items()}
    for shard in load_manifest(out).shards:
        for row in load_shard(out, shard)[0].to_pylist():
            assert texts[row["document"]][row["start_char"] : row["end_char"]] == chunks[row["id"]]
    write_jsonl(source, {"x": "a b c e", "y": "e"})
    _, done = encode_folder(out, [source], chunker=chunker(), chunks="tokens=5,overlap=1")
    assert done.num_encoded == 1, "only the chunk that changed"
    assert set(dict(stored(out))) == {"x#0", "x#1", "y#0"}
