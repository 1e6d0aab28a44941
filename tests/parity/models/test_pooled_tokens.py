"""Designs that pool some of the tokens, compared with transformers' own forward over one text at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from poolwise.models import build_model
from tiny_models import HAS_BOS, TEXTS, save_tiny_base

BOS, EOS = 1, 2
PROMPT = "search query : "
SOME = [*TEXTS, "", "dog"]
SAME = 1e-5
"""Largest distance between unit vectors; the worst seen is 4e-7."""
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


REFERENCES = {
    "mean(skip=bos)": skips_bos,
    "mean(echo=true)": lambda *text: second_occurrence(*text).mean(dim=0),
    "last(echo=true)": lambda *text: second_occurrence(*text)[-1],
}


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("pooling", REFERENCES)
@pytest.mark.parametrize("prompt", ["", PROMPT], ids=["no prompt", "prompt"])
def test_encode_equals_the_plain_reference(pooling, attention, prompt, family):
    name, base = family
    model = build_model(f"{pooling}+{attention}", base, method="frozen", max_tokens=32, precision="fp32").eval()
    wanted = normalize(torch.stack([REFERENCES[pooling](model, name, prompt, text) for text in SOME]), dim=1)
    assert np.abs(model.encode(SOME, prompt=prompt) - wanted.numpy()).max() < SAME
    plain = build_model(f"mean+{attention}", base, method="frozen", max_tokens=32, precision="fp32").eval()
    assert np.abs(plain.encode(SOME[:4], prompt=prompt) - wanted[:4].numpy()).max() > 1e-3  # it is another design
