"""Tokenisation: texts to ids, with the ids that end every text (EOS) and a count of the prompt's tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from poolwise.design import most_between_landmarks
from poolwise.errors import ConfigError, DataError, ModelError, unreadable
from poolwise.kernels.reduction import landmarks
from poolwise.models.long_texts import Ids, tokenise_in_part
from poolwise.models.vocabularies import own_tokenizer

T = TypeVar("T")
PaddingSide = Literal["left", "right"]


class TextTokens:
    """Tokenises texts as: the tokenizer's prefix (BOS), the text, EOS. An echo is prefix, prompt, text, text, EOS.

    With landmarks the text is cut into chunks of N tokens with EOS after each: prefix, prompt, chunk, EOS, chunk, EOS.

    EOS is appended by id after truncation, because tokenizer options for it are missing (Qwen2), lost on truncation, or
    drop a BOS that comes from the tokenizer's template.

    Args:
        vocab_size: number of rows of the base's embedding matrix; ids must be below it.
        echoes: every text is repeated, without its prompt.
        num_soft: number of ids after EOS, from ``vocab_size`` on: trained tokens, which the base has no embedding for.
        landmark_every: N, the number of text tokens from one landmark to the next; None for no landmarks.
        ending: the ids that end every text; None is EOS. Models that others trained may end in none, or in more.
        split_special_tokens: a special token that is spelled in a text, such as ``<|eos|>``, is read as the characters
            that it consists of, and not as the special token. None keeps the tokenizer's own setting.
    Raises: ModelError if the tokenizer has no EOS token or cannot read a text, or the base has no embedding for EOS or
        the ending.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        vocab_size: int,
        echoes: bool = False,
        num_soft: int = 0,
        landmark_every: int | None = None,
        ending: Sequence[int] | None = None,
        split_special_tokens: bool | None = None,
    ) -> None:
        eos = tokenizer.eos_token_id
        if eos is None or eos >= vocab_size:
            raise ModelError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no EOS token"
                if eos is None
                else f"EOS is id {eos}, but the base embeds {vocab_size} ids",
                "wanted a decoder-only base with an EOS token",
                "set eos_token in its tokenizer_config.json, or use another base",
            )
        self.tokenizer = tokenizer
        if split_special_tokens is not None:
            tokenizer.split_special_tokens = split_special_tokens
        self.echoes = echoes
        self.landmark_every = landmark_every
        self.vocab_size = vocab_size
        self.soft_ids = [*range(vocab_size, vocab_size + num_soft)]
        self.eos_id: int = eos
        self.ending: list[int] = [eos] if ending is None else list(ending)
        if bad := [number for number in self.ending if not 0 <= number < vocab_size]:
            raise ModelError(f"the ids that end every text hold {bad[0]}", f"wanted ids from 0 to {vocab_size - 1}")
        pad = tokenizer.pad_token_id
        # Padding is never read, so any id with an embedding works if the tokenizer has no padding token.
        self.pad_id: int = pad if pad is not None and pad < vocab_size else eos
        self.prefix: list[int] = self._find_prefix()

    def beside(self) -> TextTokens:
        """Return an equal one with a tokenizer of its own, for another thread."""
        other = copy.copy(self)
        other.tokenizer = own_tokenizer(self.tokenizer)
        return other

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids that are not part of a text: BOS, EOS, padding and the tokenizer's other special ids."""
        return frozenset({*self.tokenizer.all_special_ids, *self.prefix, self.eos_id, self.pad_id})

    @property
    def splits_special(self) -> bool:
        """Whether a special token that is spelled in a text is read as its characters."""
        return bool(self.tokenizer.split_special_tokens)

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """The special tokens as they are spelled."""
        return tuple(token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special)

    def require_prompt(self, prompt: str) -> None:
        """Raise ConfigError if a prompt spells a special token, which would not act as one."""
        if self.splits_special and (spelled := [token for token in self.special_tokens if token in prompt]):
            raise ConfigError(
                f"the prompt {prompt!r} spells the special token {spelled[0]}, which is read as its characters",
                "wanted a prompt without special tokens",
                "take it out; or set split_special_tokens to false, and special tokens act wherever they are spelled, "
                "also in texts",
            )

    def _find_prefix(self) -> list[int]:
        try:
            # A tokenizer's settings are not checked when it is loaded; damaged ones fail here, at their first use.
            bare, full = (self.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
            self.tokenizer.all_special_ids  # noqa: B018 - it is computed
        except BaseException as error:
            # A panic in the Rust code of tokenizers is no Exception.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise unreadable(
                f"cannot read a text with the tokenizer of {self.tokenizer.name_or_path!r}",
                error,
                "wanted a tokenizer that reads texts",
                "compare its tokenizer_config.json and tokenizer.json with those that were published",
            ) from error
        starts = (i for i in range(len(full)) if bare and full[i : i + len(bare)] == bare)
        return list(full[: next(starts, 0)])

    def encode(self, texts: Sequence[Any], prompt: str, max_tokens: int) -> tuple[list[list[int]], list[int]]:
        """Return the ids of ``prompt + text`` for each text, and how many of its first ids belong to the prompt.

        If there is a prompt, BOS belongs to it. A token that spans the end of the prompt belongs to the text.

        Args:
            max_tokens: maximum number of ids per text, BOS and EOS included; the repetition of a text, trained tokens
                and the landmarks before EOS do not count.
        Raises: DataError if an input is not a text.
        """
        found, _ = self.contents_in_part(texts, prompt, self.room(max_tokens))
        contents, num_prompt = [ids for ids, _ in found], [count for _, count in found]
        return self.rows(contents, num_prompt, max_tokens, has_prompt=bool(prompt))

    def contents_in_part(
        self, texts: Sequence[Any], prompt: str, room: int, *, from_end: bool = False
    ) -> tuple[list[Ids], list[str]]:
        """Return what ``contents`` returns, as pairs, of texts or of parts of very long ones; and those parts.

        The first ``room`` ids are those of the whole text; with ``from_end``, the last ones.

        Raises: as ``contents``.
        """
        _require_texts(texts)

        def tokenise(parts: list[str]) -> list[Ids]:
            return list(zip(*self.contents(parts, prompt), strict=True))

        found, parts = tokenise_in_part(tokenise, texts, room, from_end=from_end)
        if prompt and from_end:
            # Where the prompt ends depends on how the text begins.
            cut = [place for place, text in enumerate(texts) if len(parts[place]) < len(text)]
            starts = tokenise([texts[place][: len(parts[place])] for place in cut]) if cut else []
            for place, (ids, count) in zip(cut, starts, strict=True):
                found[place] = ([*ids[:count], *found[place][0][found[place][1] :]], count)
        return found, parts

    def contents(self, texts: Sequence[Any], prompt: str) -> tuple[list[list[int]], list[int]]:
        """Return the ids of ``prompt + text`` alone, not truncated, and how many of the first ones are the prompt's.

        Raises: DataError if an input is not a text, or has half a surrogate pair; ConfigError if the prompt spells a
            special token.
        """
        self.require_prompt(prompt)
        _require_texts(texts)
        has_offsets = bool(prompt) and self.tokenizer.is_fast
        try:
            batch = self.tokenizer(
                [prompt + text for text in texts],
                add_special_tokens=False,
                padding=False,
                return_offsets_mapping=has_offsets,
                # It would be a list of ones per text and take a tenth of the time.
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,  # no warning about long texts, which ``rows`` truncates
            )
        except (TypeError, UnicodeEncodeError):
            _require_unicode([prompt, *texts])
            raise
        contents: list[list[int]] = batch["input_ids"]
        if not prompt:
            return contents, [0] * len(contents)
        offsets = batch["offset_mapping"] if has_offsets else [None] * len(contents)
        return contents, [self._count_prompt(prompt, *pair) for pair in zip(contents, offsets, strict=True)]

    def rows(
        self, contents: Sequence[Sequence[int]], num_prompt: Sequence[int], max_tokens: int, *, has_prompt: bool
    ) -> tuple[list[list[int]], list[int]]:
        """Return what ``encode`` returns, from what ``contents`` returns.

        Args:
            has_prompt: whether there is a prompt; BOS then belongs to it.
        """
        room = self.room(max_tokens)
        rows, counts = [], []
        for content, skipped in zip(contents, num_prompt, strict=True):
            kept = list(content[:room])
            while self.ends_in_eos and kept and kept[-1] == self.eos_id:
                kept.pop()
            echo = kept[skipped:] if self.echoes else ()
            if self.landmark_every is not None:
                kept = [*kept[:skipped], *with_landmarks(kept[skipped:], self.eos_id, self.landmark_every)]
            row = [*self.prefix, *kept, *echo, *self.ending, *self.soft_ids]
            rows.append(row or [self.eos_id])  # an empty text without BOS and EOS still needs a token
            counts.append(len(self.prefix) + min(skipped, len(kept)) if has_prompt else 0)
        return rows, counts

    def room(self, max_tokens: int) -> int:
        """Return how many ids of ``prompt + text`` are read at most; those after them are truncated."""
        return max(max_tokens - len(self.prefix) - len(self.ending), 0)

    @property
    def ends_in_eos(self) -> bool:
        """Whether every text ends in EOS and nothing else, as in every model that poolwise trains."""
        return self.ending == [self.eos_id]

    def most_tokens(self, limit: int) -> int:
        """Return the largest ``max_tokens`` with which ``encode`` returns at most ``limit`` ids per text."""
        if self.landmark_every is not None:
            # Without a prompt a text has the most chunks.
            room = most_between_landmarks(limit - len(self.prefix), self.landmark_every)
            return len(self.prefix) + room + 1
        # Prefix and EOS are there once.
        return (limit + len(self.prefix) + 1) // 2 if self.echoes else limit - len(self.soft_ids)

    def num_before_echo(self, length: int, num_prompt: int) -> int:
        """Return how many ids of a row precede the repetition of its text.

        Args:
            length: number of ids of the row.
            num_prompt: how many of them belong to the prompt, as ``encode`` returns it.
        """
        before = num_prompt or len(self.prefix)
        return before + (length - 1 - before) // 2

    def num_landmarks(self, length: int, num_prompt: int) -> int:
        """Return how many landmarks a row has before its EOS.

        Args:
            length: number of ids of the row.
            num_prompt: how many of them belong to the prompt, as ``encode`` returns it.
        """
        if self.landmark_every is None:
            return 0
        return (length - 1 - (num_prompt or len(self.prefix))) // (self.landmark_every + 1)

    def landmark_mask(self, attention_mask: Int[Tensor, "B T"], num_prompt: Sequence[int]) -> Int[Tensor, "B T"]:
        """Return which ids of padded rows are landmarks, the EOS at their end among them.

        Args:
            num_prompt: how many first ids of each row belong to the prompt, as ``encode`` returns it.
        """
        assert self.landmark_every is not None
        before = torch.tensor([count or len(self.prefix) for count in num_prompt])
        return landmarks(attention_mask.bool(), before, self.landmark_every).long()

    def _count_prompt(self, prompt: str, content: Sequence[int], offsets: Sequence[tuple[int, int]] | None) -> int:
        if offsets is not None:
            return next((i for i, (_, end) in enumerate(offsets) if end > len(prompt)), len(content))
        # Tokenizers written in Python return no offsets: count the ids shared with the prompt's own tokenisation.
        alone = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        pairs = zip(alone, content, strict=False)
        return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(alone), len(content)))

    def pad(
        self, rows: Sequence[Sequence[int]], num_skipped: Sequence[int], side: PaddingSide
    ) -> dict[str, Int[Tensor, "B T"]]:
        """Return ``input_ids``, ``attention_mask`` and ``pooling_mask`` of rows padded to the same length.

        Args:
            num_skipped: number of ids at the start of each row that are attended to but not pooled.
        """
        lengths = torch.tensor([len(row) for row in rows])
        width = int(lengths.max())
        starts = torch.zeros_like(lengths) if side == "right" else width - lengths
        place = torch.arange(width) - starts[:, None]
        attention = (place >= 0) & (place < lengths[:, None])
        pooling = attention & (place >= torch.tensor(num_skipped)[:, None])
        ids = torch.full(attention.shape, self.pad_id)
        # numpy reads an iterator of numbers in a seventh of torch's time.
        real = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(lengths.sum()))
        ids[attention] = torch.from_numpy(real)
        return {"input_ids": ids, "attention_mask": attention.long(), "pooling_mask": pooling.long()}


def with_landmarks(text: Sequence[T], landmark: T, every: int) -> list[T]:
    """Return the tokens of a text with a landmark after every N of them, but none at its end."""
    chunks = (text[start : start + every] for start in range(0, len(text), every))
    return [one for number, chunk in enumerate(chunks) for one in ([landmark, *chunk] if number else chunk)]


def _require_texts(texts: Sequence[Any]) -> None:
    if bad := [x for x in texts if not isinstance(x, str)]:
        raise DataError(f"input {bad[0]!r} is a {type(bad[0]).__name__}", "wanted texts")


def _require_unicode(texts: Sequence[str]) -> None:
    """Raise DataError for a text with half a surrogate pair: the tokenizer's own error says neither which nor why."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            near = text[max(0, error.start - 20) : error.start + 20]
            raise DataError(
                f"a text has half a surrogate pair, which is no character: {near!a}", "wanted text that UTF-8 can hold"
            ) from error
