"""A last layer that computes only the last tokens, compared with the original layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from poolwise.design import ATTENTIONS
from poolwise.encoding.encode import encode_texts
from poolwise.kernels.final_layer import FinalLayer
from poolwise.kernels.packing import PACKABLE
from poolwise.models import build_model, prepare_encoding
from reference_loop import stock_encode
from tiny_models import TEXTS, save_tiny_base

TRIMMED = {"llama", "mistral", "qwen2", "qwen3", "gemma", "granite", "smollm3"}
"""Architectures whose last layer has llama's structure; the others keep their layer."""
MANY = [f"{a} {b}" for a in TEXTS for b in TEXTS] * 2


def build(base, design, precision="fp32"):
    model = build_model(design, base, max_tokens=32, precision=precision).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


@pytest.fixture
def reads(monkeypatch):
    """For each forward of a final layer, whether it computed only the last tokens."""
    seen = []
    forward = FinalLayer.forward

    def watch(self, states, *args, **kwargs):
        result = forward(self, states, *args, **kwargs)
        seen.append(result.shape[1] < states.shape[1])
        return result

    monkeypatch.setattr(FinalLayer, "forward", watch)
    return seen


DESIGNS = ["last", "last(prompt=skip)", "multilayer(tokens=last)", "layer_mean(tokens=last)", "latent(keys=last)"]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("attention", [*ATTENTIONS, "bidirectional(on=prompt)", "bidirectional(top=1)"])
@pytest.mark.parametrize("design", DESIGNS)
def test_vectors_are_those_of_the_whole_layer(design, attention, side, tmp_path, reads):
    base = save_tiny_base(tmp_path, "llama")
    model = build(base, f"{design}+{attention}")
    wanted = stock_encode(model, MANY, prompt="search : ")
    assert not reads
    model[0].padding_side = side
    prepare_encoding(model)
    reads.clear()  # of the trial
    found = encode_texts(model, MANY, "search : ", budget=100)
    assert reads and all(reads)
    assert np.linalg.norm(found - wanted, axis=1).max() < 1e-5


@pytest.mark.parametrize("family", sorted(PACKABLE))
def test_only_layers_of_the_llama_kind_are_trimmed(family, tmp_path):
    model = build(save_tiny_base(tmp_path, family), "last+causal")
    wanted = stock_encode(model, MANY)
    found = encode_texts(prepare_encoding(model), MANY, budget=100)
    assert isinstance(model[0].layers[-1], FinalLayer) == (family in TRIMMED)
    assert np.linalg.norm(found - wanted, axis=1).max() < 1e-5


@pytest.mark.parametrize("design", ["mean", "weighted_mean", "latent", "nv_latent", "multilayer(tokens=mean)", "mlp"])
def test_poolings_that_read_more_keep_the_layer_whole(design, tmp_path, reads):
    model = build(save_tiny_base(tmp_path, "llama"), f"{design}+bidirectional")
    wanted = stock_encode(model, MANY)
    found = encode_texts(prepare_encoding(model), MANY, budget=100)
    assert not reads and not isinstance(model[0].layers[-1], FinalLayer)
    assert np.linalg.norm(found - wanted, axis=1).max() < 1e-5


def test_whoever_asks_for_token_states_gets_them_all(tmp_path):
    model = build(save_tiny_base(tmp_path, "llama"), "last+causal")
    features = model.preprocess(MANY)
    wanted = model[0](features)["token_embeddings"]
    found = prepare_encoding(model)[0](features)["token_embeddings"]
    assert found.shape == wanted.shape
    assert (found - wanted).norm() < 1e-5 * wanted.norm()


def test_a_residual_that_is_scaled_keeps_its_layer_whole(tmp_path):
    base = save_tiny_base(tmp_path, "granite", residual_multiplier=0.5)
    assert not isinstance(prepare_encoding(build(base, "last+causal"))[0].layers[-1], FinalLayer)


def test_a_layer_that_differs_stays_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(FinalLayer, "_last", lambda self, states, _positions, packing: states[:, packing.last_rows])
    assert not isinstance(
        prepare_encoding(build(save_tiny_base(tmp_path, "llama"), "last+causal"))[0].layers[-1], FinalLayer
    )


def test_in_bf16_the_vectors_stay_near_those_of_fp32(tmp_path):
    base = save_tiny_base(tmp_path, "llama")
    exact = stock_encode(build(base, "last+causal"), MANY)
    model = prepare_encoding(build(base, "last+causal", "bf16"))
    found = encode_texts(model, MANY, budget=100)
    assert (found * exact).sum(axis=1).min() > 0.998  # 0.9989 on a Xeon with AMX
