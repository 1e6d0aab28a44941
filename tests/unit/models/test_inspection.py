"""Seeds, precision and layer shares."""

from __future__ import annotations

import pytest
import torch

from poolwise.kernels.precision import autocast
from poolwise.models import build_model, derive_seed, layer_weights
from tiny_models import NUM_LAYERS, TEXTS, save_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base"), "qwen3")


def test_seeds_differ_by_component_and_seed():
    seeds = {derive_seed(seed, part) for seed in range(3) for part in ("lora", "head", "dropout")}
    assert len(seeds) == 9
    # The first 31 bits of sha256("0/lora"): stored hashes of old runs rest on it.
    assert derive_seed(0, "lora") == 105899324
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_says_the_last_word(precision, dtype):
    a = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16), autocast(precision, "cpu"):
        assert (a @ a).dtype == dtype


def test_layer_weights(base):
    def shares(design, change=None):
        model = build_model(design, base, max_tokens=32)
        if change is not None:
            change(model[1])
        return layer_weights(model, TEXTS)

    assert shares("last+causal") is None
    assert shares("latent+causal") is None
    assert shares("layer_mean+causal") == pytest.approx([1 / NUM_LAYERS] * NUM_LAYERS)

    assert shares("layer_mean(layers=last2)+causal") == pytest.approx([0, 0.5, 0.5])

    def prefer_second(pooling):
        pooling.logits.data[1] = torch.tensor(3.0).log()

    assert shares("layer_mix(layers=every2)+causal", prefer_second) == pytest.approx([0.25, 0, 0.75])
    found = shares("multilayer(layers=2-3)+causal")
    assert found[0] == 0 and sum(found) == pytest.approx(1) and min(found[1:]) > 0

    def prefer_first(pooling):
        pooling.logits.data[0] = torch.tensor(2.0).log()

    assert shares("layer_mix+causal", prefer_first) == pytest.approx([0.5, 0.25, 0.25])

    def query_layer_two(pooling):
        pooling.layers.data[1] += 5 * torch.randn(32, generator=torch.Generator().manual_seed(1))
        wanted = pooling.head.norm_states(pooling.layers[1].detach())
        query = pooling.head.to_key(wanted) * 30
        pooling.head.to_query.weight.data = query[:, None] * torch.ones(32) / 32
        pooling.head.norm_latents.weight.data.zero_()
        pooling.head.norm_latents.bias.data.fill_(1.0)

    found = shares("multilayer+causal", query_layer_two)
    assert sum(found) == pytest.approx(1)
    assert found[1] > 0.9
