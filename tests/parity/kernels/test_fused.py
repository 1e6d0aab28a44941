"""Fused layers compared with the original ones in whole models: which modules are replaced, and equal embeddings."""

from __future__ import annotations

import pytest
import torch

from poolwise.design import ATTENTIONS
from poolwise.kernels.fused import FusedAttention, FusedGate, FusedNorm, say_kept
from poolwise.models import build_model, prepare_encoding
from poolwise.models.families import SUPPORTED
from reference_loop import stock_encode
from tiny_models import TEXTS, save_tiny_base

ALL = {FusedAttention, FusedGate, FusedNorm}
FUSED = dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), ALL)
"""Architectures whose modules are all replaced. The others keep modules that fail the trial, which is no error."""


def stirred(base, design):
    """Return a model with every weight changed: norms differ from one, adapter and biases from zero."""
    model = build_model(design, base, max_tokens=32, precision="fp32").eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("family", SUPPORTED)
def test_vectors_stay(family, attention, tmp_path):
    model = stirred(save_tiny_base(tmp_path, family), f"multilayer(tokens=mean)+{attention}")
    before = stock_encode(model, list(TEXTS), convert_to_tensor=True)
    prepare_encoding(model)
    after = stock_encode(model, list(TEXTS), convert_to_tensor=True)
    assert (after - before).norm(dim=1).max() < 1e-5 * torch.pdist(before).mean()
    kinds = {type(module) for module in model.modules()} & ALL
    assert kinds >= FUSED.get(family, set())


@pytest.mark.parametrize(("family", "named"), [("llama", False), ("gpt_neox", True)])
def test_what_keeps_its_own_form_is_named_once(family, named, tmp_path, caplog):
    say_kept.cache_clear()
    for _ in range(2):
        prepare_encoding(stirred(save_tiny_base(tmp_path, family), "mean+causal"))
    found = [record.getMessage() for record in caplog.records if "no fused form" in record.getMessage()]
    assert len(found) == named and all("GPTNeoXAttention" in text for text in found)


def test_a_form_that_differs_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(FusedNorm, "forward", lambda self, states: states * self.weight)
    model = stirred(save_tiny_base(tmp_path, "llama"), "mean+causal")
    prepare_encoding(model)
    assert not any(isinstance(module, FusedNorm) for module in model.modules())
    assert any(isinstance(module, FusedGate) for module in model.modules())


def test_in_bf16_the_vectors_stay_near_those_of_fp32(tmp_path):
    base = save_tiny_base(tmp_path, "llama")
    exact = stock_encode(stirred(base, "mean+bidirectional"), list(TEXTS), convert_to_tensor=True)
    model = stirred(base, "mean+bidirectional")
    model[0].precision = "bf16"
    prepare_encoding(model)
    assert {type(m).__name__ for m in model.modules()} >= {"FusedNorm"}
    assert torch.cosine_similarity(stock_encode(model, list(TEXTS), convert_to_tensor=True), exact).min() > 0.999
