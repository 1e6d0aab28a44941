"""Hand-written gradients compared with autograd's: loss and every gradient, and the model is restored after."""

from __future__ import annotations

import pytest
import torch

from poolwise.design import ATTENTIONS
from poolwise.kernels.fused_training import fused_training
from poolwise.models import build_model
from poolwise.models.families import SUPPORTED
from tiny_models import TEXTS, save_tiny_base

NUM_ADAPTED = 3 * 7
"""Three layers of q, k, v, o, gate, up and down."""


def stirred(base, design, **settings):
    settings = {"max_tokens": 32, "precision": "fp32", "lora_dropout": 0.0} | settings
    model = build_model(design, base, **settings).train()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def gradients(model):
    model.zero_grad()
    torch.manual_seed(0)  # some families drop out of themselves
    vectors = model(model.preprocess(list(TEXTS)))["sentence_embedding"]
    (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def compare(model, dtype=torch.float32):
    plain = gradients(model)
    with fused_training(model[0].model, dtype) as count:
        fused = gradients(model)
    assert plain.keys() == fused.keys()
    whole = torch.cat([gradient.flatten() for gradient in plain.values()]).norm()
    worst = max(float((fused[name] - plain[name]).norm() / whole) for name in plain)
    return worst, count


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("family", SUPPORTED)
def test_gradients_are_those_of_autograd(family, attention, tmp_path):
    worst, count = compare(stirred(save_tiny_base(tmp_path, family), f"multilayer(tokens=mean)+{attention}"))
    assert worst < 1e-5
    if family in ("llama", "mistral", "qwen2", "qwen3"):
        assert count == NUM_ADAPTED + 3 * 3  # and two norms and one attention a layer


def test_full_training_keeps_its_matrices_and_trains_its_norms(tmp_path):
    worst, count = compare(stirred(save_tiny_base(tmp_path, "qwen3"), "mean+causal", method="full"))
    assert worst < 1e-5 and count == 3 * 3


def test_dropout_is_left_to_the_library(tmp_path):
    model = stirred(save_tiny_base(tmp_path, "llama"), "mean+causal", lora_dropout=0.1)
    with fused_training(model[0].model, torch.float32) as count:
        assert count == 3 * 3


def test_checkpointing_gives_the_same_gradients(tmp_path):
    model = stirred(save_tiny_base(tmp_path, "llama"), "multilayer+bidirectional", gradient_checkpointing=True)
    worst, count = compare(model)
    assert worst < 1e-5 and count > NUM_ADAPTED


def test_outside_the_block_nothing_is_left(tmp_path):
    model = stirred(save_tiny_base(tmp_path, "llama"), "mean+causal")
    with pytest.raises(RuntimeError, match="stop"), fused_training(model[0].model, torch.float32):
        raise RuntimeError("stop")
    assert not any("forward" in vars(module) for module in model.modules())
