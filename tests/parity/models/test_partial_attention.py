"""Attention by layer and on the prompt, compared with the original layers called one by one with explicit masks."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from poolwise.encoding.encode import encode_texts
from poolwise.kernels.fused import FusedAttention
from poolwise.kernels.fused_training import fused_training
from poolwise.kernels.packing import PACKED_ATTENTION, _varlen, pack_batch, packed_attention
from poolwise.models import build_model, prepare_encoding
from poolwise.training.losses import join_columns
from reference_loop import stock_encode
from tiny_models import NUM_LAYERS, TEXTS, save_tiny_base

ATTENTIONS = ("bidirectional(top=1)", "bidirectional(top=2)", "bidirectional(on=prompt)")
PROMPT = "search query : "


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {family: save_tiny_base(folder / family, family) for family in ("llama", "gpt2", "gemma2")}


def build(base, attention, pooling="multilayer(tokens=mean)", **settings):
    """Return a model with every weight changed from its initial value."""
    settings = {"max_tokens": 32, "precision": "fp32", "lora_dropout": 0.0} | settings
    model = build_model(f"{pooling}+{attention}", base, **settings).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def seen(attention, layer, length, num_prompt):
    """Return which keys (columns) each query (row) sees."""
    is_open = attention.startswith("bidirectional(top") and layer > NUM_LAYERS - int(attention[-2])
    places = range(length)
    both = attention == "bidirectional(on=prompt)"
    rows = [[is_open or k <= q or (both and max(q, k) < num_prompt) for k in places] for q in places]
    return torch.tensor(rows)[None, None]


def plain_layers(model, text, attention):
    """Return the states of one text after each layer, the last after the final norm."""
    base = model[0].model
    features = model.preprocess([text], prompt=PROMPT)
    ids = features["input_ids"]
    num_prompt = int(features["prompt_mask"].sum()) if "prompt_mask" in features else 0
    positions = torch.arange(ids.shape[1])[None]
    if base.config.model_type == "gpt2":
        states, layers, norm = base.wte(ids) + base.wpe(positions), base.h, base.ln_f
        options = {}
    else:
        states, layers, norm = base.embed_tokens(ids), base.layers, base.norm
        options = {"position_embeddings": base.rotary_emb(states, positions), "position_ids": positions}
    found = []
    for number, layer in enumerate(layers, start=1):
        mask = seen(attention, number, ids.shape[1], num_prompt)
        states = layer.forward(states, attention_mask=mask, **options)
        states = states[0] if isinstance(states, tuple) else states
        found.append(states[0])
    return [*found[:-1], norm(states)[0]]


WAYS = [("llama", "packed", "left"), *((f, "padded", side) for f in ("llama", "gpt2") for side in ("left", "right"))]


@pytest.mark.parametrize(("family", "way", "side"), WAYS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_layers_are_those_of_masks_written_out(family, attention, way, side, bases):
    model = build(bases[family], attention)
    model[0].padding_side, model[0].packs = side, way == "packed"
    with torch.no_grad():
        found = model[0](model.preprocess(list(TEXTS), prompt=PROMPT))["layer_embeddings"]
        for text, layers in zip(TEXTS, found, strict=True):
            wanted = torch.stack([states.mean(dim=0) for states in plain_layers(model, text, attention)])
            torch.testing.assert_close(layers, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("packs", [True, False], ids=["packed", "padded"])
def test_texts_of_one_batch_may_have_prompts_of_their_own(packs, bases):
    model = build(bases["llama"], ATTENTIONS[2])
    model[0].packs = packs
    prompts = ["", PROMPT, "query : ", PROMPT]
    columns = [model.preprocess([text], prompt=prompt) for text, prompt in zip(TEXTS, prompts, strict=True)]
    with torch.no_grad():
        together = model(join_columns(columns))["sentence_embedding"]
        alone = torch.cat([model(column)["sentence_embedding"] for column in columns])
    assert (together - alone).norm(dim=1).max() < 1e-5 * torch.pdist(alone).mean()


@pytest.mark.parametrize("attention", ["bidirectional(top=1)", "bidirectional(on=prompt)"])
def test_a_family_that_adds_its_masks_gives_left_what_it_gives_right(attention, bases):
    model = build(bases["gemma2"], attention)
    vectors = {}
    for side in ("left", "right"):
        model[0].padding_side = side
        vectors[side] = stock_encode(model, list(TEXTS), prompt=PROMPT, convert_to_tensor=True)
    assert (vectors["left"] - vectors["right"]).norm(dim=1).max() < 1e-5 * torch.pdist(vectors["right"]).mean()


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_prepared_for_encoding_it_gives_the_same(attention, bases):
    model = build(bases["llama"], attention)
    before = stock_encode(model, list(TEXTS), prompt=PROMPT, convert_to_tensor=True)
    after = torch.from_numpy(encode_texts(prepare_encoding(model), TEXTS, PROMPT, budget=40))
    assert sum(isinstance(module, FusedAttention) for module in model.modules()) == NUM_LAYERS
    assert (after - before).norm(dim=1).max() < 1e-5 * torch.pdist(before).mean()


def gradients(model):
    model.zero_grad()
    vectors = model(model.preprocess(list(TEXTS), prompt=PROMPT))["sentence_embedding"]
    (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@cache
def packed_gradients(base, attention):
    return gradients(build(base, attention).train())


@pytest.mark.parametrize("attention", ATTENTIONS[1:])
@pytest.mark.parametrize("way", ["padded", "fused", "checkpointed", "checkpointed, padded"])
def test_every_way_to_train_gives_the_same_gradients(way, attention, bases):
    wanted = packed_gradients(bases["llama"], attention)
    model = build(bases["llama"], attention, gradient_checkpointing="checkpointed" in way).train()
    model[0].packs = "padded" not in way
    if way == "fused":
        with fused_training(model[0].model, torch.float32) as count:
            found = gradients(model)
        assert count == NUM_LAYERS * (7 + 2 + 1)  # linear layers, norms, attention
    else:
        found = gradients(model)
    assert found.keys() == wanted.keys()
    whole = torch.cat([gradient.flatten() for gradient in wanted.values()]).norm()
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() < 1e-5 * whole, name


def test_a_recomputed_layer_sees_the_prompts_of_its_own_batch(bases):
    """GradCache and gradient checkpointing run a layer again after other batches."""
    one, other = build(bases["gpt2"], ATTENTIONS[2]), build(bases["gpt2"], ATTENTIONS[2], gradient_checkpointing=True)
    found = []
    for model in (one, other):
        # Dropout inside GPT-2 would draw anew.
        for module in model.train().modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        kept = model(model.preprocess(list(TEXTS), prompt=PROMPT))["sentence_embedding"]
        model(model.preprocess(list(TEXTS)))
        kept[:, :8].sum().backward()
        found.append([weight.grad for weight in model.parameters() if weight.grad is not None])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_varlen_kernels_read_prompts_as_the_masks_do(bases, monkeypatch):
    """The kernel itself needs a GPU; a slow substitute reads text by text."""

    def varlen_attn(query, key, value, boundaries, _keys, longest, _longest, *, scale, window_size, enable_gqa):
        pieces = []
        for start, stop in zip(boundaries[:-1].tolist(), boundaries[1:].tolist(), strict=True):
            assert 0 < stop - start <= longest
            q, k, v = (x[start:stop].transpose(0, 1)[None] for x in (query, key, value))
            is_causal = window_size == (-1, 0)
            one = scaled_dot_product_attention(q, k, v, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa)
            pieces.append(one[0].transpose(0, 1))
        return torch.cat(pieces)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    attention = build(bases["llama"], ATTENTIONS[2])[0].model.layers[0].self_attn
    assert attention.config._attn_implementation == PACKED_ATTENTION
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]]).bool()
    prompt = mask & (torch.arange(5) < torch.tensor([3, 2, 0, 0])[:, None])
    packing = pack_batch(mask, prompt)
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 15, 8, generator=generator) for heads in (4, 2, 2))
    wanted, _ = packed_attention(attention, query, key, value, None, packing=packing)
    torch.testing.assert_close(_varlen(query, key, value, packing, None, True), wanted)
