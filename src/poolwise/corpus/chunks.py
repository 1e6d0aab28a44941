"""Chunks of long documents: windows of tokens that overlap, each with its place in the document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from poolwise.corpus.rows import Row, Span, digest_of
from poolwise.errors import ConfigError

_FORM = "tokens=N or tokens=N,overlap=M"


@dataclass(frozen=True)
class Chunking:
    """How documents are split.

    Args:
        tokens: of a chunk as the model counts a text: BOS, prompt and EOS included.
        overlap: tokens of a chunk that the next one repeats.
    Raises: ConfigError where a chunk would not advance.
    """

    tokens: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.tokens < 1 or not 0 <= self.overlap < self.tokens:
            raise ConfigError(
                f"chunks of {self.tokens} tokens with an overlap of {self.overlap}",
                "wanted an overlap below the tokens",
            )

    def __str__(self) -> str:
        return f"tokens={self.tokens},overlap={self.overlap}"


def parse_chunking(text: str) -> Chunking:
    """Return the chunking that ``tokens=256,overlap=32`` names. Raises: ConfigError for any other form."""
    found = re.fullmatch(r"tokens=(\d{1,9})(?:,overlap=(\d{1,9}))?", text.replace(" ", ""))
    if found is None:
        raise ConfigError(f"--chunk {text}", f"wanted {_FORM}", "such as --chunk tokens=256,overlap=32")
    return Chunking(int(found[1]), int(found[2] or 0))


class Chunker:
    """Splits documents into chunks.

    Args:
        tokenizer: of the model; it must tell where a token lies in the text.
        num_special: tokens of every text that are not its own: BOS, prompt, EOS.
        max_tokens: of the model.
        depends_on_document: the embedding of a chunk depends on the whole document.
    Raises: ConfigError where the chunks do not fit the model, or its tokenizer does not tell where tokens lie.
    """

    def __init__(
        self,
        chunking: Chunking,
        tokenizer: Any,
        num_special: int,
        max_tokens: int | None,
        depends_on_document: bool = False,
    ) -> None:
        self._tokenizer, self._whole = tokenizer, depends_on_document
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(
                "--chunk with a tokenizer that is written in Python",
                "wanted one that tells where a token lies in the text",
                "split the documents before",
            )
        if max_tokens is not None and chunking.tokens > max_tokens:
            raise ConfigError(
                f"chunks of {chunking.tokens} tokens, but the model reads {max_tokens}",
                "wanted chunks that it reads whole",
                "lower --chunk tokens=, or raise --max-tokens",
            )
        self._size = chunking.tokens - num_special
        self._step = self._size - chunking.overlap
        if self._step < 1:
            raise ConfigError(
                f"chunks of {chunking.tokens} tokens with an overlap of {chunking.overlap}: {num_special} of "
                "each are BOS, prompt and EOS",
                "wanted chunks that advance",
                "raise --chunk tokens=, or lower the overlap",
            )

    def split(self, row: Row) -> Iterator[Row]:
        """Yield the chunks of a document, in order; the id of chunk 3 of document ``a`` is ``a#3``, counted from 0.

        A chunk's text is the document's from its first character to its last. A document of fewer tokens is one chunk.

        Law: every token of the document is in a chunk, and the next chunk repeats ``overlap`` of them.
        """
        found = self._tokenizer(row.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = [offset for offset in found["offset_mapping"] if offset[1] > offset[0]]
        start, number = 0, 0
        while True:
            end = min(start + self._size, len(offsets))
            is_last = end == len(offsets)
            # The first and the last chunk take in what no token covers, such as white space at the ends.
            first = offsets[start][0] if number else 0
            last = len(row.text) if is_last else offsets[end - 1][1]
            text = row.text[first:last]
            context = row.text if self._whole else None
            span = Span(row.id, number, first, last, start, end, is_last)
            digest = digest_of(text, [*row.kept, f"{first}:{start}"], context or "")
            yield replace(row, id=f"{row.id}#{number}", text=text, digest=digest, span=span, context=context)
            if is_last:
                return
            start, number = start + self._step, number + 1
