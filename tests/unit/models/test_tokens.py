"""Ids of texts: BOS first, EOS last and only once, prompts counted."""

from __future__ import annotations

import pytest

from poolwise.errors import ConfigError, ModelError
from poolwise.models.tokens import TextTokens, with_landmarks
from tiny_models import FAMILIES, HAS_BOS, PAD_IS_EOS, TEXTS, tiny_tokenizer

EOS, BOS = 2, 1


@pytest.fixture(params=FAMILIES)
def tokens(request):
    tokenizer = tiny_tokenizer(request.param)
    tokenizer.family = request.param
    return TextTokens(tokenizer, len(tokenizer))


def encode(tokens, *texts, prompt="", limit=32):
    return tokens.encode(texts, prompt, limit)


def test_eos_is_last_and_once_whatever_is_cut(tokens):
    for limit in range(4, 20):
        for row in encode(tokens, *TEXTS, "", "a dog <eos>", limit=limit)[0]:
            assert len(row) <= limit
            assert row[-1] == EOS
            assert row.count(EOS) == 1


def test_a_spelled_special_token_is_read_as_its_characters(tokens):
    split = TextTokens(tiny_tokenizer(tokens.tokenizer.family), tokens.vocab_size, split_special_tokens=True)
    rows = encode(split, "a dog <eos>", "<eos>", "<pad> a <bos> b", "a dog", "")[0]
    for row in rows:
        assert row.count(EOS) == 1 and row[-1] == EOS
        assert row[: len(split.prefix)] == split.prefix
        assert not {BOS, split.tokenizer.pad_token_id} & set(row[len(split.prefix) : -1])
    assert rows[0] != rows[3] and rows[1] != rows[4]
    assert encode(split, *TEXTS) == encode(tokens, *TEXTS)


def test_a_prompt_that_spells_a_special_token_is_refused_or_acts(tokens):
    split = TextTokens(tiny_tokenizer(tokens.tokenizer.family), tokens.vocab_size, split_special_tokens=True)
    with pytest.raises(ConfigError, match="the prompt 'query <eos> ' spells the special token <eos>"):
        encode(split, "a dog", prompt="query <eos> ")
    assert EOS in encode(tokens, "a dog", prompt="query <eos> ")[0][0][:-1]


def test_a_cut_text_keeps_its_beginning(tokens):
    whole = encode(tokens, TEXTS[1])[0][0]
    cut = encode(tokens, TEXTS[1], limit=6)[0][0]
    assert cut == [*whole[:5], EOS]


def test_bos_is_kept_where_thetiny_tokenizer_adds_it(tokens):
    has_bos = tokens.tokenizer.family in HAS_BOS
    for row in encode(tokens, *TEXTS, "")[0]:
        assert (row[0] == BOS) == has_bos
    assert encode(tokens, "")[0] == [[BOS, EOS] if has_bos else [EOS]]


@pytest.mark.parametrize("prompt", ["search query : ", "search query :"])
def test_prompt_is_counted_with_bos_and_without_eos(prompt, tokens):
    rows, counts = encode(tokens, *TEXTS, "", prompt=prompt)
    for row, count, text in zip(rows, counts, [*TEXTS, ""], strict=True):
        assert tokens.tokenizer.decode(row[count:-1]).strip() == text
    assert encode(tokens, *TEXTS)[1] == [0] * len(TEXTS)


def test_an_echo_repeats_the_text_without_bos_and_prompt_and_the_limit_counts_one_of_them(tokens):
    echoing = TextTokens(tokens.tokenizer, len(tokens.tokenizer), echoes=True)
    for prompt in ("", "search query : "):
        for limit in (4, 8, 9, 32):
            rows, counts = encode(echoing, *TEXTS, "", "a dog <eos>", prompt=prompt, limit=limit)
            once, same = encode(tokens, *TEXTS, "", "a dog <eos>", prompt=prompt, limit=limit)
            assert counts == same
            for row, plain, count in zip(rows, once, counts, strict=True):
                text = plain[count or len(tokens.prefix) : -1]
                assert row == [*plain[:-1], *text, EOS]
                assert row[echoing.num_before_echo(len(row), count) :] == [*text, EOS]
                assert len(row) <= limit * 2 and echoing.most_tokens(len(row)) <= limit


def test_the_longest_echo_fills_the_limit_and_one_more_token_exceeds_it(tokens):
    echoing, text = TextTokens(tokens.tokenizer, len(tokens.tokenizer), echoes=True), "a dog " * 40
    for limit in (20, 21):
        most = echoing.most_tokens(limit)
        (row,), (longer,) = (encode(echoing, text, limit=asked)[0] for asked in (most, most + 1))
        assert len(row) in (limit, limit - 1) and len(longer) > limit
    assert tokens.most_tokens(20) == 20


def with_eos_after(tokens, every):
    return TextTokens(tokens.tokenizer, len(tokens.tokenizer), landmark_every=every)


def places_of_landmarks(found, row, count, side="right"):
    """Return the places of the landmarks in a row that is padded to three ids more."""
    features = found.pad([row, [*row, EOS, EOS, EOS]], [0, 0], side)
    mask = found.landmark_mask(features["attention_mask"], [count, count])
    assert not mask[~features["attention_mask"].bool()].any()
    return [place - (3 if side == "left" else 0) for place in mask[0].nonzero()[:, 0].tolist()]


@pytest.mark.parametrize("prompt", ["", "search query : "])
def test_a_landmark_stands_after_every_few_tokens_of_the_text(prompt, tokens):
    (plain,), (count,) = encode(tokens, TEXTS[3], prompt=prompt, limit=16)
    start = count or len(tokens.prefix)
    before, text = plain[:start], plain[start:-1]
    half, one_less = len(text) // 2, len(text) - 1
    even = [*before, *text[: 2 * half]]
    wanted = {
        len(text) + 1: plain,
        len(text): plain,  # none directly before EOS
        one_less: [*before, *text[:-1], EOS, text[-1], EOS],
    }
    for every, row in wanted.items():
        assert encode(with_eos_after(tokens, every), TEXTS[3], prompt=prompt, limit=16) == ([row], [count])
    twice = with_eos_after(tokens, half).rows(
        [even[len(tokens.prefix) :]], [start - len(tokens.prefix)], 32, has_prompt=True
    )
    assert twice[0] == [[*before, *text[:half], EOS, *text[half : 2 * half], EOS]]


def test_landmarks_do_not_count_and_do_not_move_the_prompt(tokens):
    texts = [*TEXTS, "", "a dog <eos>", "<eos> a dog <eos> runs", "a dog " * 30]
    for every in (1, 2, 3, 32):
        found = with_eos_after(tokens, every)
        for prompt, limit in (("", 4), ("", 9), ("search query : ", 6), ("search query : ", 32), ("one " * 40, 8)):
            rows, counts = encode(found, *texts, prompt=prompt, limit=limit)
            once, same = encode(tokens, *texts, prompt=prompt, limit=limit)
            assert counts == same
            for row, plain, count in zip(rows, once, counts, strict=True):
                start = count or len(tokens.prefix)
                wanted, marks = plain[:start], []
                for number, token in enumerate(plain[start:-1], start=1):
                    wanted.append(token)
                    if number % every == 0 and number < len(plain) - 1 - start:
                        marks.append(len(wanted))
                        wanted.append(EOS)
                assert row == [*wanted, EOS]
                assert found.num_landmarks(len(row), count) == len(marks)
                for side in ("right", "left"):
                    assert places_of_landmarks(found, row, count, side) == [*marks, len(wanted)]


def test_an_empty_text_has_one_landmark(tokens):
    found = with_eos_after(tokens, 1)
    for prompt in ("", "search query :"):
        (row,), (count,) = encode(found, "", prompt=prompt)
        assert row == encode(tokens, "", prompt=prompt)[0][0]
        assert places_of_landmarks(found, row, count) == [len(row) - 1]


def test_a_very_long_text_has_the_landmarks_of_its_beginning(tokens):
    found = with_eos_after(tokens, 5)
    long, short = "a dog runs " * 9000, "a dog runs " * 40
    for prompt in ("", "search query : "):
        (parts,), _ = (found.contents_in_part([long], prompt, 24)[0], None)
        assert len(parts[0]) < 20_000  # it was read in part
        assert encode(found, long, prompt=prompt) == encode(found, short, prompt=prompt)


def test_the_longest_row_with_landmarks_fills_the_limit_and_one_more_token_exceeds_it(tokens):
    for every in (1, 2, 3, 7, 30):
        found = with_eos_after(tokens, every)
        for limit in range(12, 22):
            most = found.most_tokens(limit)
            (row,), (longer,) = (encode(found, "a dog " * 40, limit=asked)[0] for asked in (most, most + 1))
            assert len(row) in (limit, limit - 1) and len(longer) > limit
            (prompted,), _ = encode(found, "a dog " * 40, prompt="search query : ", limit=most)
            assert len(prompted) <= limit


def test_tokens_between_landmarks_are_those_of_the_text() -> None:
    assert with_landmarks("", "|", 2) == []
    assert "".join(with_landmarks("abcde", "|", 2)) == "ab|cd|e"
    assert "".join(with_landmarks("abcd", "|", 2)) == "ab|cd"
    assert "".join(with_landmarks("abcd", "|", 9)) == "abcd"


def test_prompt_longer_than_the_limit_leaves_eos_alone(tokens):
    (row,), (count,) = encode(tokens, "a dog", prompt="search query : " * 9, limit=8)
    assert (len(row), count) == (8, 7)


def test_token_that_spans_the_end_of_the_prompt_is_text():
    tokenizer = tiny_tokenizer("gpt2")
    tokens = TextTokens(tokenizer, len(tokenizer))
    (row,), (count,) = encode(tokens, "rk", prompt="in the pa")
    assert tokenizer.decode(row[count:-1]).strip() == "park"


def testtiny_tokenizer_without_offsets_counts_the_ids_shared_with_the_prompt(tokens):
    prompt = tokens.tokenizer("search query", add_special_tokens=False).input_ids
    assert tokens._count_prompt("search query", [*prompt, 9, 9], None) == len(prompt)
    assert tokens._count_prompt("search query", [*prompt[:1], 9, 9], None) == 1


def test_padding_side_and_pad_equal_to_eos(tokens):
    rows, skipped = [[BOS, 7, EOS], [EOS]], [1, 0]
    right, left = (tokens.pad(rows, skipped, side) for side in ("right", "left"))
    assert right["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert left["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert right["pooling_mask"].tolist() == [[0, 1, 1], [1, 0, 0]]
    assert left["pooling_mask"].tolist() == [[0, 1, 1], [0, 0, 1]]
    assert left["input_ids"][1, 2] == EOS
    assert (right["input_ids"][1, 1] == EOS) == (tokens.tokenizer.family in PAD_IS_EOS)


def test_pad_token_without_an_embedding_is_not_used():
    tokenizer = tiny_tokenizer("llama")
    tokenizer.add_special_tokens({"pad_token": "<extra>"})
    assert TextTokens(tokenizer, len(tokenizer) - 1).pad_id == EOS


def test_no_eos_is_a_model_error():
    tokenizer = tiny_tokenizer("llama")
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no EOS token"):
        TextTokens(tokenizer, 100)
    with pytest.raises(ModelError, match="EOS is id 2, but the base embeds 2"):
        TextTokens(tiny_tokenizer("llama"), 2)
