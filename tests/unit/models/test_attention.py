"""Setting the attention, verifying it with the probe, and the bases that are refused."""

from __future__ import annotations

import json
import re

import pytest
import torch
from transformers import AutoConfig, Lfm2Config, Qwen3NextConfig, T5Config

from poolwise.errors import ConfigError, ModelError
from poolwise.kernels.masks import restrict_layers
from poolwise.models import AttentionProbe, build_model, check_attention, load_model, probe_attention
from poolwise.models.attention import set_attention
from poolwise.models.bases import load_base
from poolwise.models.families import SUPPORTED, attention_implementation, refuse_unsuitable
from tiny_models import save_tiny_base


@pytest.mark.parametrize(
    ("moved", "wanted"),
    [
        ((False, False, False), "causal"),
        ((True, True, True), "bidirectional"),
        ((True, False, True), "mixed"),
        ((False, True, False), "mixed"),
    ],
)
def test_probe_in_a_word(moved, wanted):
    assert AttentionProbe(*moved).attention == wanted


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ([(0, 0, 1)] * 3, "bidirectional(top=1)"),
        ([(1, 1, 1)] * 3, "bidirectional(top=3)"),
        ([(0, 1, 1), (0, 0, 1), (0, 1, 1)], "mixed"),
        ([(1, 0, 1)] * 3, "mixed"),
    ],
)
def test_probe_by_layer_in_a_word(layers, wanted):
    layers = tuple(tuple(map(bool, moved)) for moved in layers)
    assert AttentionProbe(True, True, True, layers).attention == wanted
    assert AttentionProbe(False, False, False, (((False,) * 3),) * 3).attention == "causal"


@pytest.mark.parametrize(
    ("moved", "prompt", "wanted"),
    [
        (False, (True, True, True), "bidirectional(on=prompt)"),
        (False, (False, False, False), "causal"),
        (False, (True, False, True), "mixed"),
        (True, (True, True, True), "bidirectional"),
    ],
)
def test_probe_of_the_prompt_in_a_word(moved, prompt, wanted):
    assert AttentionProbe(moved, moved, moved, prompt=prompt).attention == wanted


def test_facts_for_the_record():
    plain = {"unpadded": True, "padded_left": True, "padded_right": True}
    assert AttentionProbe(True, True, True).facts == plain
    assert AttentionProbe(True, True, True, ((False, False, True),) * 3).facts == plain | {
        "layer_2": False,
        "layer_3": True,
    }
    assert AttentionProbe(True, True, True, ((True, True),) * 3).facts == plain | {"layer_1": True}
    assert AttentionProbe(True, True, True, prompt=(True,) * 3).facts == plain | {"prompt": True}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base"), "llama")


MODES = ["causal", "bidirectional", "bidirectional(top=1)", "bidirectional(top=2)", "bidirectional(on=prompt)"]


@pytest.mark.parametrize("stored", MODES)
def test_a_model_that_left_its_mode_is_stopped(stored, base):
    model = build_model(f"mean+{stored}", base, method="frozen", max_tokens=32)
    assert check_attention(model).attention == stored
    for other in MODES:
        if other == stored or {other, stored} == {"causal", "bidirectional(on=prompt)"}:
            continue  # the switch is the same in both: what differs is the mask, which the next test spoils
        if stored == "bidirectional" and "top" in other:
            continue  # of a model with one attention for all layers, the probe looks at the last alone
        set_attention(model[0].model, other)
        with pytest.raises(ModelError, match=f"behaves .*wanted {re.escape(stored)}, as stored"):
            check_attention(model)
    set_attention(model[0].model, stored)
    assert check_attention(model).attention == stored


def test_a_prompt_that_does_not_reach_the_layers_is_found(base, monkeypatch):
    model = build_model("mean+bidirectional(on=prompt)", base, method="frozen", max_tokens=32)
    monkeypatch.setattr("poolwise.models.backbone.Backbone._prompt", lambda self, features: None)
    with pytest.raises(ModelError, match=r"behaves causal .*wanted bidirectional\(on=prompt\)"):
        check_attention(model)


def test_text_that_reaches_back_into_the_prompt_is_found(base, monkeypatch):
    model = build_model("mean+bidirectional(on=prompt)", base, method="frozen", max_tokens=32)

    def whole_text(self, features):
        return features["attention_mask"].bool() if "prompt_mask" in features else None

    monkeypatch.setattr("poolwise.models.backbone.Backbone._prompt", whole_text)
    with pytest.raises(ModelError, match="behaves bidirectional "):
        check_attention(model)


def test_layers_whose_masks_do_not_obey_are_found(base, monkeypatch):
    monkeypatch.setattr("poolwise.models.attention.restrict_layers", lambda model, layers, num_causal: None)
    with pytest.raises(ModelError, match=r"behaves bidirectional\(top=3\).*wanted bidirectional\(top=1\)"):
        build_model("mean+bidirectional(top=1)", base, max_tokens=32)


def test_layers_that_are_handed_no_mask_are_refused(base):
    class Layer(torch.nn.Module):
        def forward(self, states):
            return states

    with pytest.raises(ModelError, match="Layer takes no attention_mask"):
        restrict_layers(load_base(base)[0], [Layer()], 1)


def test_more_layers_than_the_base_has_are_refused(base):
    with pytest.raises(ConfigError, match=r"top=4 on a base of 3 layers; wanted top=1 to top=3"):
        build_model("mean+bidirectional(top=4)", base, max_tokens=32)
    with pytest.raises(ConfigError, match=r"layers=last4 on a base of 3 layers; wanted last1 to last3"):
        build_model("layer_mean(layers=last4)+causal", base, max_tokens=32)


def test_a_family_that_cannot_have_prompts_is_refused(tmp_path):
    base = save_tiny_base(tmp_path, "bloom")
    build_model("mean+bidirectional(top=1)", base, max_tokens=32)
    with pytest.raises(ModelError, match="bloom computes its positions from the padding mask"):
        build_model("mean+bidirectional(on=prompt)", base, max_tokens=32)


@pytest.mark.parametrize("attention", MODES[2:])
def test_texts_beyond_a_sliding_window_are_refused(attention, tmp_path):
    base = save_tiny_base(tmp_path, "mistral")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"sliding_window": 16}))
    assert build_model(f"mean+{attention}", base, max_tokens=16)[0].max_tokens == 16
    with pytest.raises(ModelError, match=r"wanted 4 to 16, under .* the sliding window"):
        build_model(f"mean+{attention}", base, max_tokens=17)
    build_model("mean+bidirectional", base, max_tokens=17)


def test_probe_leaves_the_training_mode_as_it_was(base):
    model = build_model("mean+causal", base, max_tokens=32)
    for mode in (True, False):
        model.train(mode)
        probe_attention(model)
        assert {module.training for module in model.modules()} == {mode}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (Lfm2Config(), "lfm2.*conv"),
        (Qwen3NextConfig(), "qwen3_next.*linear_attention"),
        (AutoConfig.for_model("mamba"), "mamba.* is a hybrid"),
        (T5Config(), "encoder-decoder"),
        (AutoConfig.for_model("opt", word_embed_proj_dim=512, hidden_size=1024), "from 1024 to 512"),
    ],
)
def test_unsuitable_base_is_refused_with_the_reason(config, reason):
    with pytest.raises(ModelError, match=reason):
        refuse_unsuitable(config, "some/base")


def test_known_families_are_not_refused():
    for family in SUPPORTED:
        refuse_unsuitable(AutoConfig.for_model(family), family)
    assert [family for family in SUPPORTED if attention_implementation(family)] == ["gemma2", "bloom", "gptj"]


@pytest.mark.parametrize("attention", ["bidirectional", "bidirectional(top=1)"])
@pytest.mark.parametrize("step", ["build", "load"])
def test_a_family_that_ignores_the_switch_is_stopped_at(step, attention, base, tmp_path, monkeypatch):
    def build():
        return build_model(f"mean+{attention}", base, max_tokens=32)

    build().save(str(tmp_path / "saved"), create_model_card=False)
    monkeypatch.setattr("poolwise.models.backbone.set_attention", lambda model, mode: None)
    with pytest.raises(ModelError, match=r"behaves causal.*ignores config\.is_causal"):
        build() if step == "build" else load_model(tmp_path / "saved")
