"""Texts far longer than a model reads: only a part is tokenised, and the ids are the same."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from poolwise.base_sources.catalogue import EMBEDDED
from poolwise.models import long_texts
from poolwise.models.long_texts import LEAST
from poolwise.models.tokens import TextTokens

WORDS = [
    "a",
    "the",
    "retrieval",
    "überraschung",
    "漢字",
    "🙂",
    "x" * 40,
    "don't",
    "\n\n",
    "  ",
    "\t",
    "12345",
    ".",
    "(",
    "e\u0301",
]


def sentence_pieces() -> PreTrainedTokenizerFast:
    """Return a tokenizer that reads a whole text as one word, as those of Llama and Mistral do."""
    made = Tokenizer(models.BPE(byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>"], show_progress=False)
    made.train_from_iterator([" ".join(random.Random(n).choices(WORDS, k=40)) for n in range(50)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module", params=["bytes", "sentence pieces"])
def tokens(request: pytest.FixtureRequest) -> TextTokens:
    tokenizer = (
        AutoTokenizer.from_pretrained(EMBEDDED["poolwise/nano"]) if request.param == "bytes" else sentence_pieces()
    )
    return TextTokens(tokenizer, len(tokenizer))


def texts() -> list[str]:
    draw = random.Random(0)
    made = [
        sign.join(draw.choices(WORDS, k=draw.randrange(3000))) for sign in (" ", " ", "", "\n", "  ") for _ in range(8)
    ]
    return [*made, "", "a" * 5000, " " * 5000, "ab " * 2000, "short", " " * 4000 + "word " * 50]


@pytest.mark.parametrize("prompt", ["", "query: "])
def test_the_ids_that_are_read_are_those_of_the_whole_text(
    tokens: TextTokens, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_texts, "LEAST", 200)
    monkeypatch.setattr(long_texts, "CHARACTERS", 4)
    given = texts()
    whole, counts = tokens.contents(given, prompt)
    for room in (1, 30, 200):
        for from_end in (False, True):
            found, parts = tokens.contents_in_part(given, prompt, room, from_end=from_end)
            assert sum(len(part) < len(text) for part, text in zip(parts, given, strict=True)) > 20
            for (ids, count), all_ids, num_prompt in zip(found, whole, counts, strict=True):
                kept = all_ids[num_prompt:][-room:] if from_end else all_ids[:room]
                assert (ids[count:][-room:] if from_end else ids[:room]) == kept
                assert count == num_prompt and len(ids) <= len(all_ids)


def test_a_document_of_megabytes_is_not_tokenised_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = TextTokens(AutoTokenizer.from_pretrained(EMBEDDED["poolwise/nano"]), 32_000)
    sizes: list[int] = []
    read = tokens.contents

    def counted(parts: list[str], prompt: str) -> Any:
        sizes.extend(map(len, parts))
        return read(parts, prompt)

    monkeypatch.setattr(tokens, "contents", counted)
    (ids,), _ = tokens.encode(["word " * 1_000_000], "", 64)
    assert len(ids) == 64 and sizes == [LEAST + 4]
