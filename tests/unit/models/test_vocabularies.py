"""Tokenizers of equal vocabularies share one, so that loading a base again costs no memory that stays."""

from __future__ import annotations

from itertools import product

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from memory_in_use import memory_in_use
from poolwise.models import vocabularies
from poolwise.models.bases import load_base, locate_base
from poolwise.models.tokens import TextTokens
from poolwise.models.vocabularies import own_tokenizer, share_vocabulary
from tiny_models import FAMILIES, TEXTS, tiny_tokenizer


def test_a_base_that_is_loaded_again_leaves_no_memory_behind():
    words = ["".join(letters) for letters in product("abcdefghij", "aeiouy", "klmnopqrst", "vwxyz")]
    texts = [" ".join(words[start : start + 20]) for start in range(0, len(words), 20)]

    def load_and_read() -> None:
        load_base("poolwise/nano")[1](texts)

    load_and_read()
    before = memory_in_use()
    for _ in range(4):
        load_and_read()
    assert memory_in_use() - before < 1  # 3.5 MiB where each has a vocabulary of its own


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_vocabulary_reads_as_ones_own(family):
    alone, first, second = (tiny_tokenizer(family) for _ in range(3))
    share_vocabulary(first)
    assert share_vocabulary(second) is second
    assert second(TEXTS)["input_ids"] == alone(TEXTS)["input_ids"]
    assert second.decode(alone(TEXTS[0])["input_ids"]) == alone.decode(alone(TEXTS[0])["input_ids"])


def test_truncation_and_added_tokens_stay_ones_own():
    place = locate_base("poolwise/nano")
    first, second = (share_vocabulary(AutoTokenizer.from_pretrained(place)) for _ in range(2))
    wanted = second("a dog and a cat")["input_ids"]
    first.add_tokens(["dog and"])
    first.backend_tokenizer.enable_truncation(2)
    assert second("a dog and a cat")["input_ids"] == wanted
    assert first.backend_tokenizer.encode("a dog and a cat").ids != wanted
    assert len(first) == len(second) + 1


def test_other_vocabularies_stay_apart():
    nano = share_vocabulary(Tokenizer.from_file(str(locate_base("poolwise/nano") / "tokenizer.json")))
    other = tiny_tokenizer(FAMILIES[0])
    wanted = other(TEXTS)["input_ids"]
    assert share_vocabulary(other)(TEXTS)["input_ids"] == wanted
    assert nano.get_vocab_size() != len(other)


def test_a_copy_for_another_thread_reads_the_same():
    tokens = TextTokens(load_base("poolwise/nano")[1], 16_384)
    other = tokens.beside()
    assert other.tokenizer is not tokens.tokenizer
    assert other.encode(TEXTS, "", 8) == tokens.encode(TEXTS, "", 8)
    other.tokenizer.backend_tokenizer.enable_padding(length=50)
    assert len(tokens.tokenizer.backend_tokenizer.encode("a dog").ids) < 50
    assert (
        other.tokenizer.backend_tokenizer.encode("a dog").ids != tokens.tokenizer.backend_tokenizer.encode("a dog").ids
    )


def test_what_is_no_tokenizer_of_the_library_is_left_alone():
    thing = object()
    assert share_vocabulary(thing) is thing
    assert own_tokenizer([1]) == [1]


def test_few_vocabularies_are_kept(monkeypatch):
    monkeypatch.setattr(vocabularies, "MOST_KEPT", 2)
    for family in FAMILIES:
        share_vocabulary(tiny_tokenizer(family))
        assert len(vocabularies._kept) <= 2
