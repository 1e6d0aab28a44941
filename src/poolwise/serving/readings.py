"""How a server reads texts with a model: inputs to rows of tokens, and rows to embeddings."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float
from sentence_transformers import SentenceTransformer

from poolwise.encoding.encode import is_readable
from poolwise.errors import DataError, ModelError
from poolwise.kernels.batches import token_budget
from poolwise.kernels.lanes import as_lane, num_lanes
from poolwise.kernels.memory import STOCK_BATCH, encode_with_less
from poolwise.kernels.reading import Tokenised, read_texts
from poolwise.models import EmbeddingModel
from poolwise.models.long_texts import Ids, tokenise_in_part
from poolwise.models.vocabularies import own_tokenizer

Input = str | list[int]
"""A text, or the ids of its tokens in the model's own tokenizer."""
Truncate = Literal["NONE", "START", "END"]
"""Which end of a text that is too long is left out; with NONE it is refused."""
Batch = tuple[list[int], Float[np.ndarray, "B D"]]
"""The indices of some rows, and their embeddings in fp32."""


@dataclass(frozen=True, repr=False)  # a text must not get into a log
class Row:
    """A text as a model reads it.

    Args:
        ids: its token ids; for a model of others, of the text before it is truncated.
        num_prompt: how many of the first ids belong to the prompt.
        num_tokens: how many tokens the model reads.
        is_part: the ids are those of a part of a very long text.
        text: the text, for a model that tokenises it again.
        prompt: put before that text.
    """

    ids: list[int]
    num_prompt: int
    num_tokens: int
    text: str = ""
    prompt: str = ""
    is_part: bool = False


class Reading(Protocol):
    """How a model reads texts. ``tokenise`` and ``finish`` run in one thread, ``read`` in others.

    A second thread may tokenise with ``beside()``.
    """

    width: int
    num_lanes: int
    """The number of threads that may read at the same time."""
    budget: int
    """The most tokens that one of them reads at once, padding included."""
    limit: int
    """The number of tokens at which texts are truncated."""

    def beside(self) -> Reading:
        """Return a reading of the same model with a tokenizer of its own: one may not be used by two threads."""

    def tokenise(self, inputs: Sequence[Input], prompt: str, truncate: Truncate) -> list[Row]:
        """Return the rows of inputs before they are truncated; of very long texts, more ids than are kept of them.

        Raises: DataError for ids that the model does not have.
        """

    def finish(self, rows: Sequence[Row], prompt: str, truncate: Truncate) -> list[Row]:
        """Return rows as the model reads them.

        Raises: DataError where a text is too long and ``truncate`` forbids to cut it.
        """

    def read(self, rows: Sequence[Row], *, is_alone: bool) -> Iterator[Batch]:
        """Yield the embeddings of rows, some at a time.

        Args:
            is_alone: nothing else is read meanwhile, so these rows may have all threads. Otherwise they are one batch.
        """


def open_reading(model: SentenceTransformer) -> Reading:
    """Return how a server reads texts with a model: without tokenising twice, if poolwise made the model."""
    return OwnReading(model) if is_readable(model) and model.has_reader else OtherReading(model)


class OwnReading:
    """Reads with a poolwise model, as its ``encode`` does."""

    def __init__(self, model: EmbeddingModel) -> None:
        self._backbone = model[0]
        self._tokens = self._backbone.tokens
        self._reader = replace(model.reader(), tokenise=_known_tokens)
        self._truncate_dim = model.truncate_dim
        self.width = int(model.truncate_dim or model.get_embedding_dimension() or 0)
        self.limit: int = self._backbone.max_tokens
        self.num_lanes = num_lanes(self._reader.device)
        self.budget = token_budget(self._reader.device)

    def beside(self) -> OwnReading:
        """Return a reading of the same model with a tokenizer of its own."""
        other = copy.copy(self)
        other._tokens = self._tokens.beside()
        return other

    def tokenise(self, inputs: Sequence[Input], prompt: str, truncate: Truncate) -> list[Row]:
        """Return the rows of inputs before they are truncated."""
        texts = [one for one in inputs if isinstance(one, str)]
        room = self._tokens.room(self.limit)
        from_end = truncate == "START"
        found, parts = self._tokens.contents_in_part(texts, prompt, room, from_end=from_end) if texts else ([], [])
        of_texts = iter(zip(found, parts, strict=True))
        of_prompt = self._tokens.contents([""], prompt)[0][0] if prompt and len(texts) < len(inputs) else []
        rows = []
        for number, one in enumerate(inputs):
            if isinstance(one, str):
                (ids, num_prompt), part = next(of_texts)
                rows.append(Row(ids, num_prompt, len(ids), is_part=len(part) < len(one)))
            else:
                ids, num_prompt = [*of_prompt, *self._bare(one, number)], len(of_prompt)
                rows.append(Row(ids, num_prompt, len(ids)))
        return rows

    def _bare(self, ids: list[int], number: int) -> list[int]:
        """Return the ids of a text without BOS and EOS, which every row gets."""
        require_ids(ids, self._tokens.vocab_size, number)
        start = len(self._tokens.prefix)
        bare = ids[start:] if start and ids[:start] == self._tokens.prefix else ids
        ending = self._tokens.ending
        return bare[: -len(ending)] if ending and bare[-len(ending) :] == ending else bare

    def finish(self, rows: Sequence[Row], prompt: str, truncate: Truncate) -> list[Row]:
        """Return rows as the model reads them, with BOS and EOS."""
        room = self._tokens.room(self.limit)
        kept = []
        for number, row in enumerate(rows):
            too_many = len(row.ids) - room
            if too_many > 0 and truncate == "NONE":
                raise _too_long(number, len(row.ids) + self.limit - room, self.limit, row.is_part)
            cut = row.ids
            if too_many > 0 and truncate == "START":
                cut = [*row.ids[: row.num_prompt], *row.ids[row.num_prompt + too_many :]]
            kept.append(cut)
        found = self._tokens.rows(kept, [row.num_prompt for row in rows], self.limit, has_prompt=bool(prompt))
        return [Row(ids, count, len(ids)) for ids, count in zip(*found, strict=True)]

    def read(self, rows: Sequence[Row], *, is_alone: bool) -> Iterator[Batch]:
        """Yield the embeddings of rows, some at a time."""
        is_batch = self.num_lanes > 1 and not is_alone
        budget = len(rows) * max(row.num_tokens for row in rows) if is_batch else None
        with as_lane(self.num_lanes) if is_batch else nullcontext():
            for numbers, vectors in read_texts(self._reader, rows, budget=budget):
                found = vectors.cpu().numpy()
                yield numbers, found if self._truncate_dim is None else found[:, : self._truncate_dim]


def _known_tokens(rows: Sequence[Any], _prompt: str) -> Tokenised:
    return [row.ids for row in rows], [row.num_prompt for row in rows]


class OtherReading:
    """Reads with any sentence-transformers model by its own ``encode``; tokens are only counted before."""

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        # encode sets the truncation of its tokenizer, which another thread must not use then.
        self._tokenizer = own_tokenizer(model.tokenizer)
        self.width = int(model.truncate_dim or model.get_embedding_dimension() or 0)
        self.limit = int(model.max_seq_length or 0)
        self.num_lanes = 1  # its encode uses all threads
        self.budget = num_lanes(model.device) * token_budget(model.device)

    def beside(self) -> OtherReading:
        """Return a reading of the same model with a tokenizer of its own."""
        other = copy.copy(self)
        other._tokenizer = own_tokenizer(self._tokenizer)
        return other

    def tokenise(self, inputs: Sequence[Input], prompt: str, truncate: Truncate) -> list[Row]:
        """Return the rows of inputs before they are truncated."""
        texts = [self._text(one, number) for number, one in enumerate(inputs)]

        def tokenise(parts: list[str]) -> list[Ids]:
            return [(ids, 0) for ids in self._ids([prompt + part for part in parts], special=True)]

        # Without a limit, all of a text is read.
        found, parts = tokenise_in_part(tokenise, texts, self.limit) if self.limit else (tokenise(texts), texts)
        return [
            Row(ids, 0, len(ids), part, prompt, is_part=len(part) < len(text))
            for text, part, (ids, _) in zip(texts, parts, found, strict=True)
        ]

    def _ids(self, texts: list[str], *, special: bool) -> list[list[int]]:
        if not texts:
            return []
        if callable(self._tokenizer):
            found = self._tokenizer(texts, add_special_tokens=special, truncation=False, padding=False, verbose=False)
            return [list(ids) for ids in found["input_ids"]]
        self._tokenizer.no_truncation()
        return [found.ids for found in self._tokenizer.encode_batch(texts, add_special_tokens=special)]

    def _text(self, one: Input, number: int) -> str:
        if isinstance(one, str):
            return one
        vocab = self._tokenizer.get_vocab_size() if not callable(self._tokenizer) else len(self._tokenizer)
        require_ids(one, vocab, number)
        text = str(self._tokenizer.decode(one, skip_special_tokens=True))
        if one not in (self._ids([text], special=False)[0], self._ids([text], special=True)[0]):
            raise DataError(
                f"input {number}: the tokens are not those that the model's tokenizer makes of any text",
                "wanted token ids of the model's own tokenizer",
                "send the text",
            )
        return text

    def finish(self, rows: Sequence[Row], prompt: str, truncate: Truncate) -> list[Row]:
        """Return rows as the model reads them; it truncates at the end only."""
        found = []
        for number, row in enumerate(rows):
            is_long = 0 < self.limit < len(row.ids)
            if is_long and truncate == "NONE":
                raise _too_long(number, len(row.ids), self.limit, row.is_part)
            if is_long and truncate == "START":
                raise DataError(
                    f"input {number} has more than {self.limit} tokens, and this model truncates at the end only",
                    f"wanted at most {self.limit} tokens with truncate START",
                    "use END, or send a shorter text",
                )
            found.append(replace(row, ids=[], num_tokens=min(len(row.ids), self.limit or len(row.ids))))
        return found

    def read(self, rows: Sequence[Row], *, is_alone: bool) -> Iterator[Batch]:
        """Yield the embeddings of rows, those of one prompt together."""
        numbers = sorted(range(len(rows)), key=lambda number: rows[number].prompt)
        for prompt, group in groupby(numbers, key=lambda number: rows[number].prompt):
            mine = list(group)
            texts = [rows[number].text for number in mine]
            found = encode_with_less(partial(self._encode, texts, prompt), STOCK_BATCH)
            yield mine, np.asarray(found, dtype=np.float32)

    def _encode(self, texts: list[str], prompt: str, batch_size: int) -> Any:
        settings = {"batch_size": batch_size, "convert_to_numpy": True, "show_progress_bar": False}
        return self._model.encode(texts, prompt=prompt, **settings)


def require_ids(ids: Sequence[int], vocab_size: int, number: int) -> None:
    """Raise DataError where an id has no embedding."""
    if bad := [one for one in ids if not 0 <= one < vocab_size]:
        raise DataError(
            f"input {number} has the token id {bad[0]}",
            f"wanted ids of the model's own tokenizer, 0 to {vocab_size - 1}",
            "send the text; ids of another tokenizer give wrong embeddings",
        )


def _too_long(number: int, num_tokens: int, limit: int, is_part: bool) -> DataError:
    more = "more than " if is_part else ""
    return DataError(
        f"input {number} has {more}{num_tokens} tokens", f"wanted at most {limit}", "shorten it, or let it be truncated"
    )


def require_finite(vectors: Float[np.ndarray, "B D"], name: str) -> None:
    """Raise ModelError where an embedding is not finite."""
    if not np.isfinite(vectors).all():
        raise ModelError(f"{name} gave an embedding that is not finite", "wanted numbers", "check the model: doctor")
