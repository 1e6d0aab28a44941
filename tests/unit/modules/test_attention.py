"""The attention switch, the probe that does not believe it, and the bases it refuses."""

from __future__ import annotations

import pytest
from transformers import AutoConfig, Lfm2Config, Qwen3NextConfig, T5Config

from poolwise.errors import ModelError
from poolwise.modules import AttentionProbe, build_model, check_attention, load_model, probe_attention
from poolwise.modules.attention import set_attention
from poolwise.modules.families import SUPPORTED, attention_implementation, refuse_unsuitable
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


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base"), "llama")


@pytest.mark.parametrize("stored", ["causal", "bidirectional"])
def test_a_model_that_left_its_mode_is_stopped(stored, base):
    model = build_model(f"mean+{stored}", base, max_tokens=32)
    assert check_attention(model).attention == stored
    other = "bidirectional" if stored == "causal" else "causal"
    set_attention(model[0].model, other)
    with pytest.raises(ModelError, match=f"behaves {other}.*wanted {stored}"):
        check_attention(model)


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


@pytest.mark.parametrize("step", ["build", "load"])
def test_a_family_that_ignores_the_switch_is_stopped_at(step, base, tmp_path, monkeypatch):
    def build():
        return build_model("mean+bidirectional", base, max_tokens=32)

    build().save(str(tmp_path), create_model_card=False)
    monkeypatch.setattr("poolwise.modules.backbone.set_attention", lambda model, mode: None)
    with pytest.raises(ModelError, match=r"behaves causal.*ignores config\.is_causal"):
        build() if step == "build" else load_model(tmp_path)
