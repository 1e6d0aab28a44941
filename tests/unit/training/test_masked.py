"""Masked tokens, their targets, and the order of texts."""

import pytest
import torch

from poolwise.errors import DataError
from poolwise.models import build_model
from poolwise.training.masked import NO_TARGET, MaskedTexts, draw_texts, maskable
from tiny_models import TEXTS, save_tiny_base

MASK = 3
DRAWS = tuple(range(len(TEXTS))) * 20


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def backbone(request, tmp_path_factory):
    # llama's tokenizer puts BOS in front, gpt2's does not and pads with EOS.
    base = save_tiny_base(tmp_path_factory.mktemp("base") / request.param, request.param)
    return build_model("mean+bidirectional", base, method="frozen", max_tokens=24)[0]


def masked_texts(backbone, share=0.3, seed=0):
    return MaskedTexts(backbone, TEXTS, DRAWS, mask_id=MASK, mask_share=share, seed=seed)


@pytest.mark.parametrize("side", ["left", "right"])
def test_special_tokens_and_padding_are_neither_masked_nor_predicted(backbone, side):
    special = backbone.tokens.special_ids
    backbone.padding_side = side
    collator = masked_texts(backbone, share=0.9)
    for start in range(0, 80, 4):
        rows = range(start, start + 4)
        inputs, plain = collator(rows), backbone.preprocess(list(TEXTS))
        targets, ids = inputs["text_targets"], inputs["text_input_ids"]
        chosen = targets != NO_TARGET
        assert not any(int(token) in special for token in targets[chosen])
        assert (ids[chosen] == MASK).all()
        assert torch.equal(ids[~chosen], plain["input_ids"][~chosen])
        assert torch.equal(targets[chosen], plain["input_ids"][chosen])
        assert torch.equal(inputs["text_attention_mask"], plain["attention_mask"])
        first = plain["attention_mask"].argmax(dim=1)
        assert not chosen[torch.arange(4), first].any()
        # 90% of what is left, rounded; at least one.
        for row, text in enumerate(plain["input_ids"]):
            places = maskable(text[plain["attention_mask"][row].bool()].tolist(), special)
            assert chosen[row].sum() == max(1, round(0.9 * len(places)))
    backbone.padding_side = "right"


def test_a_draw_is_masked_alike_whatever_the_batch_and_differently_from_another(backbone):
    collator = masked_texts(backbone)
    together, alone = collator([5, 9, 1]), collator([9])
    width = alone["text_targets"].shape[1]
    assert torch.equal(together["text_targets"][1, :width], alone["text_targets"][0])
    assert torch.equal(masked_texts(backbone)([9])["text_input_ids"], alone["text_input_ids"])
    rows = [1 + 4 * k for k in range(12)]  # twelve draws of the longest text
    assert len({tuple(collator([row])["text_targets"][0].tolist()) for row in rows}) > 3
    other = [masked_texts(backbone, seed=1)([row])["text_targets"] for row in rows]
    assert any(not torch.equal(collator([row])["text_targets"], found) for row, found in zip(rows, other, strict=True))


def test_the_first_token_needs_a_state_before_it():
    assert maskable([7, 8, 2], {2}) == [1]
    assert maskable([1, 8, 9, 2], {1, 2}) == [1, 2]
    assert maskable([7, 2], {2}) == []


def test_texts_come_once_a_shuffle_and_those_with_nothing_to_mask_never(backbone):
    texts = [*TEXTS, "", " "]
    drawn = draw_texts(backbone, texts, 8, seed=0)
    assert sorted(drawn[:4]) == sorted(drawn[4:]) == [0, 1, 2, 3]
    assert drawn == draw_texts(backbone, texts, 8, seed=0)
    assert draw_texts(backbone, texts, 3, seed=0) == drawn[:3]
    assert len({tuple(draw_texts(backbone, texts, 4, seed=seed)) for seed in range(5)}) > 1
    with pytest.raises(DataError, match="none of 2 texts has a token to mask"):
        draw_texts(backbone, ["", " "], 2, seed=0)
