"""Designs that pool some of the tokens, compared with transformers' own forward over one text at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from poolwise.checks import diagnose
from poolwise.errors import ModelError
from poolwise.models import build_model, head_parameters
from reference_loop import stock_encode
from tiny_models import HAS_BOS, POSITIONS, TEXTS, save_tiny_base

BOS, EOS = 1, 2
PROMPT = "search query : "
SOME = [*TEXTS, "", "dog"]
SAME = 1e-5
"""Largest difference in a number of unit vectors."""
FAMILIES = ("llama", "qwen3", "gpt2")
"""With and without BOS, packed and padded."""


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    return request.param, save_tiny_base(tmp_path_factory.mktemp("base"), request.param)


def pieces(model, family, prompt, text):
    """Return BOS if the tokenizer has one, the prompt's ids and the text's; a token that spans both is the text's."""
    ids = model.tokenizer(prompt + text, add_special_tokens=False)["input_ids"]
    reach = [len(model.tokenizer.decode(ids[: i + 1])) for i in range(len(ids))]
    num_prompt = sum(length <= len(prompt) for length in reach)
    return ([BOS] if family in HAS_BOS else []), ids[:num_prompt], ids[num_prompt:]


def plain_states(model, ids):
    """Return the last layer's states (T D) of one unpadded text."""
    with torch.no_grad():
        return model[0].model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]


def skips_bos(model, *text):
    """Return the mean of all tokens but the first; a single token is kept."""
    bos, prompt, content = pieces(model, *text)
    states = plain_states(model, [*bos, *prompt, *content, EOS])
    return states[1:].mean(dim=0) if len(states) > 1 else states[0]


def second_occurrence(model, *text):
    """Return the states of the second occurrence of a text, and of EOS."""
    bos, prompt, content = pieces(model, *text)
    before = [*bos, *prompt, *content]
    return plain_states(model, [*before, *content, EOS])[len(before) :]


def soft_states(model, *text):
    """Return the states of the trained tokens, which follow EOS."""
    bos, prompt, content = pieces(model, *text)
    embed = model[0].model.get_input_embeddings()
    known = embed(torch.tensor([*bos, *prompt, *content, EOS]))
    soft = embed(torch.tensor([EOS])) + model[1].soft
    return model[0].model(inputs_embeds=torch.cat([known, soft])[None], use_cache=False).last_hidden_state[0, -3:]


def landmark_states(model, *text):
    """Return the states of EOS after every third token of a text, and of the EOS at its end."""
    bos, prompt, content = pieces(model, *text)
    ids, places = [*bos, *prompt], []
    for number, token in enumerate(content):
        if number and number % 3 == 0:
            places.append(len(ids))
            ids.append(EOS)
        ids.append(token)
    return plain_states(model, [*ids, EOS])[[*places, len(ids)]]


REFERENCES = {
    "mean(skip=bos)": skips_bos,
    "mean(echo=true)": lambda *text: second_occurrence(*text).mean(dim=0),
    "soft_tokens(count=3,tokens=mean)": lambda *text: soft_states(*text).mean(dim=0),
    "soft_tokens(count=3,tokens=last)": lambda *text: soft_states(*text)[-1],
    "last(echo=true)": lambda *text: second_occurrence(*text)[-1],
    "landmark(every=3)": lambda *text: landmark_states(*text).mean(dim=0),
}


def build(design, base, **options):
    model = build_model(design, base, method="frozen", max_tokens=32, precision="fp32", **options).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model[1].parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("pooling", REFERENCES)
@pytest.mark.parametrize("prompt", ["", PROMPT], ids=["no prompt", "prompt"])
def test_encode_equals_the_plain_reference(pooling, attention, prompt, family):
    name, base = family
    model = build(f"{pooling}+{attention}", base)
    with torch.no_grad():
        found = torch.stack([REFERENCES[pooling](model, name, prompt, text) for text in SOME])
    wanted = normalize(found, dim=1).numpy()
    assert np.abs(model.encode(SOME, prompt=prompt) - wanted).max() < SAME
    plain = build(f"mean+{attention}", base)
    assert np.abs(plain.encode(SOME[:4], prompt=prompt) - wanted[:4]).max() > 1e-3  # it is another design


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_a_text_with_one_landmark_has_the_embedding_of_its_last_token(attention, family):
    marked, last = (build(f"{pooling}+{attention}", family[1]) for pooling in ("landmark", "last"))
    assert np.abs(marked.encode(SOME, prompt=PROMPT) - last.encode(SOME, prompt=PROMPT)).max() < SAME


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_a_landmark_is_found_by_its_place_where_a_text_spells_eos(attention, family):
    name, base = family
    model = build(f"landmark(every=3)+{attention}", base, split_special_tokens=False)
    texts = ["a dog <eos> runs in the park", "<eos> a dog", "the old <eos> <eos> man plays"]
    assert all(EOS in pieces(model, name, "", text)[2] for text in texts)
    with torch.no_grad():
        found = torch.stack([landmark_states(model, name, "", text).mean(dim=0) for text in texts])
    assert np.abs(model.encode(texts) - normalize(found, dim=1).numpy()).max() < SAME


def test_trained_tokens_are_trained_with_the_head_and_change_the_embeddings(family):
    model = build("soft_tokens(count=2)+causal", family[1])
    (soft,) = head_parameters(model)
    assert soft is model[1].soft
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == ["1.soft"]
    model(model.preprocess(SOME))["sentence_embedding"][:, :4].sum().backward()
    assert bool((soft.grad != 0).any(dim=1).all())
    before = model.encode(SOME)
    with torch.no_grad():
        soft[:, ::2] += 1.0  # not all of a vector: layer norms take a constant out
    assert np.abs(model.encode(SOME) - before).max() > 1e-3
    assert np.abs(model.encode(SOME) - stock_encode(model, SOME)).max() < SAME


def test_the_limit_counts_the_text_and_the_base_must_have_room_for_more(family):
    base, long = family[1], "dog " * POSITIONS
    # 50 or 51 tokens, 13 landmarks, and BOS where there is one.
    more = (("soft_tokens(count=3)", POSITIONS - 3), ("mean(echo=true)", POSITIONS // 2), ("landmark(every=4)", 52))
    for pooling, most in more:
        model = build_model(f"{pooling}+causal", base, method="frozen", precision="fp32", max_tokens=most)
        assert POSITIONS - 2 <= model.preprocess([long])["input_ids"].shape[1] <= POSITIONS
        assert np.isfinite(model.encode([long, "dog"])).all()
        assert all(check.status != "fail" for check in diagnose(model))
        with pytest.raises(ModelError, match=r"max_tokens is 64; wanted 4 to .* positions of base"):
            model.max_seq_length = POSITIONS
