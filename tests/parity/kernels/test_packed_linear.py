"""Linear layers with reordered weights compared with plain linear layers."""

import numpy as np
import pytest
import torch
from torch import nn

from poolwise.encoding.encode import encode_texts
from poolwise.kernels import packed_linear
from poolwise.kernels.packed_linear import PackedLinear, pack_linears
from poolwise.models import build_model, prepare_encoding
from tiny_models import TEXTS, save_tiny_base

pytestmark = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="oneDNN multiplies bf16 on CPUs with AVX-512 or avx_ne_convert only; elsewhere layers stay plain",
)
MANY = [f"{a} {b}" for a in TEXTS for b in TEXTS] * 2


def linear(bias, rows=24, columns=40):
    torch.manual_seed(0)
    return nn.Linear(columns, rows, bias=bias).bfloat16().requires_grad_(False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(40,), (1, 40), (2, 3, 40), (1, 1500, 40)], ids=str)
def test_it_is_the_plain_product(shape, bias):
    plain = linear(bias)
    states = torch.randn(shape).bfloat16()
    with torch.no_grad():
        found, wanted = PackedLinear(plain)(states), plain(states)
    assert found.shape == wanted.shape and found.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted, rtol=torch.finfo(torch.bfloat16).eps, atol=1e-2)


def test_only_bf16_layers_are_exchanged():
    model = nn.Sequential(linear(True), nn.Linear(24, 24), nn.Sequential(linear(False)))
    assert pack_linears(model) == 2
    assert isinstance(model[0], PackedLinear) and isinstance(model[2][0], PackedLinear)
    assert type(model[1]) is nn.Linear


def failing(*_args):
    raise RuntimeError("no such operator")


@pytest.mark.parametrize("forward", [failing, lambda self, states: states[..., :24] * 2], ids=["fails", "differs"])
def test_what_does_not_stand_its_trial_stays(forward, monkeypatch):
    monkeypatch.setattr(packed_linear.PackedLinear, "forward", forward)
    model = nn.Sequential(linear(True))
    assert pack_linears(model) == 0
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize("design", ["last+causal", "multilayer+bidirectional"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt_neox", "gemma"])
def test_vectors_stay(family, design, tmp_path, monkeypatch):
    base = save_tiny_base(tmp_path, family)
    vectors = []
    for packs in (True, False):
        if not packs:
            monkeypatch.setattr("poolwise.models.merge.pack_linears", lambda _model: 0)
        model = prepare_encoding(build_model(design, base, method="frozen", max_tokens=32, precision="bf16"))
        assert packs == any(isinstance(module, PackedLinear) for module in model.modules())
        vectors.append(encode_texts(model, MANY, budget=100))
        assert np.array_equal(encode_texts(model, MANY, budget=100), vectors[-1])  # also when it is asked again
    assert np.linalg.norm(vectors[0] - vectors[1], axis=1).max() < 5e-3  # 0 on a Zen 4, 1.2e-3 on a Xeon with AMX
