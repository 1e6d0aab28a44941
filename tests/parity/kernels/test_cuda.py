"""Code that only runs on a GPU: varlen attention, batches packed ahead, training in bf16."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from poolwise.encoding.encode import encode_texts
from poolwise.kernels.fused_training import fused_training
from poolwise.kernels.packing import PACKABLE
from poolwise.kernels.precision import autocast
from poolwise.models import build_model, prepare_encoding
from reference_loop import stock_encode
from tiny_models import TEXTS, save_tiny_base

if not torch.cuda.is_available():
    pytest.skip("no CUDA device here", allow_module_level=True)

MANY = [f"{a} {b}" for a in TEXTS for b in TEXTS] * 3
PROMPT = "search query : "
ATTENTIONS = ("causal", "bidirectional", "bidirectional(top=1)", "bidirectional(on=prompt)")
POOLINGS = ("last", "mean", "weighted_mean", "latent", "multilayer(tokens=last)", "multilayer(tokens=mean)")


def build(base, design, precision):
    model = build_model(design, base, max_tokens=32, precision=precision, lora_dropout=0.0)
    assert model.device.type == "cuda"
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_((torch.randn(weight.shape, generator=generator) * 0.1).to(weight.device))
    return model.eval()


def padded_vectors(model, precision="fp32"):
    """Return the model's embeddings from padded batches, in fp32."""
    model[0].packs, model[0].precision = False, "fp32"
    vectors = stock_encode(model, MANY, prompt=PROMPT)
    model[0].packs, model[0].precision = True, precision
    return vectors


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_vectors_are_those_of_padded_passes(precision, pooling, attention, side, tmp_path):
    model = build(save_tiny_base(tmp_path, "llama"), f"{pooling}+{attention}", precision)
    wanted = padded_vectors(model, precision)
    model[0].padding_side = side
    found = encode_texts(prepare_encoding(model), MANY, PROMPT, budget=200)
    assert found.shape == wanted.shape and np.isfinite(found).all()
    if precision == "fp32":
        assert np.linalg.norm(found - wanted, axis=1).max() < 2e-5
    else:
        assert (found * wanted).sum(axis=1).mean() > 0.995


@pytest.mark.parametrize("design", ["last+causal", "multilayer(tokens=mean)+bidirectional"])
@pytest.mark.parametrize("family", sorted(PACKABLE))
def test_every_family_that_is_packed(family, design, tmp_path):
    model = build(save_tiny_base(tmp_path, family), design, "bf16")
    wanted = padded_vectors(model, "bf16")
    found = encode_texts(prepare_encoding(model), MANY, PROMPT, budget=200)
    assert (found * wanted).sum(axis=1).mean() > 0.99


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_cpu_never_waits_for_the_device(pooling, attention, tmp_path):
    model = prepare_encoding(build(save_tiny_base(tmp_path, "llama"), f"{pooling}+{attention}", "bf16"))
    rows = list(zip(range(len(MANY)), *model[0].tokens.encode(MANY, PROMPT, 32), strict=True))
    reader = model.reader()
    replica = reader.lanes.take()
    reader.read(replica, rows)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        vectors = reader.read(replica, rows)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert vectors.isfinite().all()


def gradients(model, precision, *, packs, fused=False):
    """Return the gradient of a sum over the embeddings, as one vector."""
    model[0].packs, model[0].precision = packs, precision
    model.zero_grad()
    features = {name: value.to(model.device) for name, value in model.preprocess(MANY, prompt=PROMPT).items()}
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with fused_training(model[0].model, dtype) if fused else nullcontext(1) as count:
        assert count
        with autocast(precision, model.device):
            vectors = model(features)["sentence_embedding"].float()
        (vectors * torch.linspace(-1, 1, vectors.numel(), device=vectors.device).view_as(vectors)).sum().backward()
    return torch.cat([w.grad.flatten().float() for w in model.parameters() if w.grad is not None])


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("pooling", ["mean", "latent", "multilayer(tokens=last)"])
def test_gradients_are_those_of_padded_passes(pooling, attention, fused, tmp_path):
    model = build(save_tiny_base(tmp_path, "llama"), f"{pooling}+{attention}", "fp32").train()
    wanted = gradients(model, "fp32", packs=False)
    exact = gradients(model, "fp32", packs=True, fused=fused)
    assert (exact - wanted).norm() < 2e-5 * wanted.norm()
    rough = gradients(model, "bf16", packs=True, fused=fused)
    plain = gradients(model, "bf16", packs=False)
    assert (rough - wanted).norm() < 1.5 * (plain - wanted).norm()


def test_one_text_alone_and_one_of_many_give_the_same(tmp_path):
    model = prepare_encoding(build(save_tiny_base(tmp_path, "llama"), "mean+bidirectional", "bf16"))
    many = encode_texts(model, MANY, PROMPT, budget=150)
    alone = np.concatenate([encode_texts(model, [text], PROMPT) for text in MANY])
    assert (many * alone).sum(axis=1).min() > 0.999
