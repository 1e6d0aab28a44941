"""Masked next-token prediction compared with a reference implementation: the original causal model, text by text."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from poolwise.training.masked import NO_TARGET, MaskedPrediction, MaskedTexts
from tiny_models import TEXTS, save_tiny_base
from toy_adaptation import toy_adapt, toy_adaptable

# Families whose scores are a plain product, divided by a number, and capped.
FAMILIES = {"llama": {}, "gpt2": {}, "granite": {"logits_scaling": 8.0}, "gemma2": {"final_logit_softcapping": 3.0}}
# Worst seen: 3e-7 of a loss of 6, and 2e-7 of a gradient whose largest entry is 0.4.
TOLERANCE = 5e-6


def plain_loss(causal, ids, masks, targets):
    """Return the loss, computed for each text alone, with every token visible to every other."""
    total, count = 0.0, 0
    for row, mask, wanted in zip(ids, masks.bool(), targets, strict=True):
        text = row[mask][None]
        seen = torch.zeros(1, 1, text.shape[1], text.shape[1])  # added to the scores of attention: hides nothing
        logits = causal(input_ids=text, attention_mask=seen, use_cache=False).logits[0]
        for place, token in enumerate(wanted[mask].tolist()):
            if token != NO_TARGET:
                scores = logits[place - 1]
                total, count = total + torch.log(torch.exp(scores).sum()) - scores[token], count + 1
    return total / count


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradient_equal_the_formula(family, tmp_path):
    base = save_tiny_base(tmp_path / family, family, with_head=True, **FAMILIES[family])
    adaptable, _ = toy_adaptable(base, toy_adapt(), method="full")
    backbone = adaptable.model[0]
    collator = MaskedTexts(backbone, TEXTS, [0, 1, 2, 3], mask_id=3, mask_share=0.4, seed=0)
    inputs = collator([0, 1, 2, 3])
    features = {name.removeprefix("text_"): value for name, value in inputs.items()}
    adaptable.model.eval()  # without the dropout of gpt2
    loss = MaskedPrediction(adaptable.model)([features])
    causal = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager").eval()
    expected = plain_loss(causal, features["input_ids"], features["attention_mask"], features["targets"])
    assert loss.item() == pytest.approx(expected.item(), abs=TOLERANCE)
    assert loss.item() != pytest.approx(math.log(causal.config.vocab_size), abs=0.01)  # not what no model at all gives
    loss.backward()
    expected.backward()
    theirs = dict(causal.named_parameters())
    compared = 0
    for name, parameter in adaptable.causal.named_parameters():
        wanted = theirs[name].grad
        if wanted is not None:
            torch.testing.assert_close(parameter.grad, wanted, atol=TOLERANCE, rtol=1e-4)
            compared += 1
    assert compared > 10
