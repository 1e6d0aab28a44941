"""A small index of chunks for tests: three documents, split and encoded by a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

from poolwise.corpus.chunks import parse_chunking
from poolwise.corpus.corpus import encode_corpus
from poolwise.corpus.rows import Columns
from poolwise.corpus.settings import CorpusConfig
from poolwise.models import build_model
from poolwise.search import Index, build_index
from tiny_models import save_tiny_base

DOCUMENTS = {
    "park": "The old man plays a guitar in the park and sings. A dog runs in the park. How old is the dog, one or two?",
    "market": "Stocks fell. The man in the shell sings: stocks fell by two.",
    "shell": "How do I sort a list of words by length in the shell? Search document one, and sort by query length.",
}
QUERY = "sort a list of words"


def build_chunk_index(folder: Path, *, keep_text: bool = True) -> Index:
    """Return an index of the chunks of DOCUMENTS, with the field ``url`` and the model that encoded them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"_id": name, "text": text, "url": f"{name}.html"} for name, text in DOCUMENTS.items()]
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = build_model("mean+causal", save_tiny_base(folder / "base", "llama"), max_tokens=16)
    model.save(str(folder / "model"))
    config = CorpusConfig(
        columns=Columns(keep=("url",)), keep_text=keep_text, chunking=parse_chunking("tokens=12,overlap=2")
    )
    encode_corpus(str(folder / "model"), [str(folder / "documents.jsonl")], folder / "corpus", config)
    return build_index(folder / "corpus", folder / "index")


def require_chunk(text: str, fields: dict[str, object]) -> None:
    """Check that a chunk's fields lead to its text in its document."""
    document = DOCUMENTS[str(fields["document"])]
    assert text and document[int(str(fields["start_char"])) : int(str(fields["end_char"]))] == text
    assert fields["url"] == f"{fields['document']}.html"
