"""The backbone inside sentence-transformers: layers, gradients, prompts, limits."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from transformers.pytorch_utils import Conv1D

from poolwise.errors import DataError, ModelError
from poolwise.kernels.layers import decoder_layers
from poolwise.kernels.reduction import last_token, mean_tokens
from poolwise.models import build_model, count_trainable, head_parameters
from tiny_models import HIDDEN, NUM_LAYERS, TEXTS, save_tiny_base


@pytest.fixture(scope="module", params=["llama", "gpt2", "gpt_neox"])
def base(request, tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base"), request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base"), "llama")


def build(design, base, **settings):
    return build_model(design, base, **{"max_tokens": 32, "precision": "fp32", **settings})


@pytest.mark.parametrize(("design", "reduce"), [("layer_mean+causal", last_token), ("paper:5", mean_tokens)])
def test_layers_are_those_of_the_hidden_states_stack(design, reduce, base):
    backbone = build(design, base).eval()[0]
    features = backbone.preprocess(list(TEXTS))
    found = backbone(features)
    assert not any(layer._forward_hooks for layer in decoder_layers(backbone.model))
    positions = (features["attention_mask"].cumsum(1) - 1).clamp(min=0)
    stack = backbone.model(
        features["input_ids"],
        attention_mask=features["attention_mask"],
        position_ids=positions,
        output_hidden_states=True,
    ).hidden_states
    wanted = torch.stack([reduce(states, features["pooling_mask"].bool()) for states in stack[1:]], dim=1)
    assert found["layer_embeddings"].shape == (len(TEXTS), NUM_LAYERS, HIDDEN)
    assert found["layer_embeddings"].dtype == torch.float32
    assert torch.allclose(found["layer_embeddings"], wanted, atol=1e-6)


def gradients(design, base, checkpointing):
    model = build(design, base, gradient_checkpointing=checkpointing, lora_dropout=0.0).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model(model.preprocess(list(TEXTS)))["sentence_embedding"][:, :8].sum().backward()
    assert model[0].model.is_gradient_checkpointing == checkpointing
    return {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("design", ["mean+bidirectional", "multilayer+causal"])
def test_gradient_checkpointing_changes_no_gradient(design, base):
    plain, checkpointed = gradients(design, base, False), gradients(design, base, True)
    assert any(gradient is not None and gradient.any() for name, gradient in plain.items() if "lora_B" in name)
    for name, gradient in plain.items():
        assert torch.allclose(checkpointed[name], gradient, atol=1e-6), name


@pytest.mark.parametrize(("method", "expected"), [("frozen", "head"), ("lora", "head and adapter"), ("full", "all")])
def test_method_says_what_trains(method, expected, llama):
    model = build("layer_mix+causal", llama, method=method)
    names = {
        name.split(".")[0] + ("/lora" if "lora_" in name else "")
        for name, w in model.named_parameters()
        if w.requires_grad
    }
    assert names == {"head": {"1"}, "head and adapter": {"1", "0/lora"}, "all": {"0", "1"}}[expected]
    assert [weight.shape for weight in head_parameters(model)] == [(NUM_LAYERS,)]
    shapes = [weight.numel() for weight in model.parameters() if weight.requires_grad]
    assert count_trainable(model) == sum(shapes)
    assert (count_trainable(model) == NUM_LAYERS) == (method == "frozen")
    assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {torch.float32}


def test_adapter_sits_on_every_linear_layer_of_the_decoder(base):
    layers = decoder_layers(build("last+causal", base)[0].model)
    linear = {
        name for name, m in layers.named_modules() if type(m) in (torch.nn.Linear, Conv1D) and "lora_" not in name
    }
    # Attention and MLP: 4 matrices at least, each inside a LoRA layer.
    assert len(linear) >= 4 * NUM_LAYERS
    assert all(name.endswith(".base_layer") for name in linear)


def test_encode_with_prompts_and_empty_text(llama):
    model = build("mean+causal", llama, prompts={"query": "search query : "})
    by_name, by_text = model.encode(TEXTS, prompt_name="query"), model.encode(TEXTS, prompt="search query : ")
    assert (by_name == by_text).all()
    assert (by_name != model.encode(TEXTS)).any()
    assert (model.encode_query(list(TEXTS)) == by_name).all()
    empty = model.encode(["", "a dog"])
    assert empty.shape == (2, HIDDEN)
    assert abs((empty**2).sum(axis=1) - 1).max() < 1e-5


def test_trainers_collator_gives_the_features_encoding_uses(llama):
    model = build("mean(prompt=skip)+causal", llama)
    collator = SentenceTransformerDataCollator(model.preprocess, prompts={"anchor": "search query : "})
    batch = collator([{"anchor": text, "positive": text} for text in TEXTS])
    wanted = model.preprocess(list(TEXTS), prompt="search query : ")
    for name, value in wanted.items():
        assert torch.equal(batch[f"anchor_{name}"], value)
    assert {name.removeprefix("positive_") for name in batch if name.startswith("positive_")} == set(wanted)


def test_prompts_are_marked_where_the_attention_asks_for_them(llama):
    model = build("mean+bidirectional(on=prompt)", llama)
    features = model.preprocess(list(TEXTS), prompt="search query : ")
    skipped = build("mean(prompt=skip)+causal", llama).preprocess(list(TEXTS), prompt="search query : ")
    assert torch.equal(features["pooling_mask"], features["attention_mask"])
    assert torch.equal(features["prompt_mask"], skipped["attention_mask"] - skipped["pooling_mask"])
    assert features["prompt_mask"].sum(dim=1).tolist() == [4] * len(TEXTS)  # BOS and three words
    assert not model.preprocess(list(TEXTS))["prompt_mask"].any()
    assert "prompt_mask" not in build("mean+bidirectional(top=1)", llama).preprocess(list(TEXTS))


def test_prompt_is_pooled_unless_told_otherwise(llama):
    features = build("mean+causal", llama).preprocess(list(TEXTS), prompt="search query : ")
    assert torch.equal(features["pooling_mask"], features["attention_mask"])


def test_limits_on_tokens(llama):
    model = build("last+causal", llama)
    assert model.preprocess([TEXTS[1]], max_length=5)["input_ids"].shape == (1, 5)
    model.max_seq_length = 6
    assert model.preprocess([TEXTS[1]])["input_ids"].shape == (1, 6)
    for bad in (3, 65):
        with pytest.raises(ModelError, match=f"max_tokens is {bad}; wanted 4 to 64"):
            model.max_seq_length = bad
        with pytest.raises(ModelError):
            build("last+causal", llama, max_tokens=bad)


def test_other_input_than_text_is_a_data_error(llama):
    with pytest.raises(DataError, match="input 3 is a int"):
        build("last+causal", llama)[0].preprocess(["a", 3])


SENSELESS = """
import sys
from poolwise.errors import ConfigError
from poolwise.models import build_model, load_any, load_model

build_model("mean+causal", sys.argv[1], max_tokens=8).save(sys.argv[2])
calls = [
    lambda: build_model("mean+causal", sys.argv[1], precision="fp8"),
    lambda: build_model("mean+causal", sys.argv[1], base_dtype="int3"),
    lambda: build_model("mean+causal", sys.argv[1], method="qlora"),
    lambda: build_model("mean+causal", sys.argv[1], device="tpu"),
    lambda: load_model(sys.argv[2], precision="fp8"),
    lambda: load_any(sys.argv[2], precision="fp8"),
]
for call in calls:
    try:
        call()
    except ConfigError as error:
        print(error)
"""


def test_senseless_settings_are_refused(tmp_path):
    # In a process of its own: in this one the types of arguments are checked first.
    command = [sys.executable, "-c", SENSELESS, save_tiny_base(tmp_path / "base", "llama"), str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "precision fp8; wanted auto, fp32 or bf16",
        "base_dtype int3; wanted auto, fp32, bf16 or nf4",
        "method qlora; wanted lora, frozen or full",
        "'tpu' is not a device; wanted cpu, cuda, cuda:N or mps",
        *["precision fp8; wanted auto, fp32 or bf16"] * 2,
    ]
