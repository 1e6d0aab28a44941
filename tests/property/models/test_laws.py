"""Laws that hold for every pooling under both attentions on every architecture.

Differences are relative to the mean distance between the embeddings of different texts; fp32.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from poolwise.design import ATTENTIONS, POOLINGS, parse_design
from poolwise.models import build_model, design_of, init_hashes, load_model, probe_attention
from poolwise.models.pooling import build_pooling
from tiny_models import FAMILIES, TEXTS, save_tiny_base

TOLERANCE = 1e-5
OPTIONS = (
    "mean(prompt=skip)",
    "mean(skip=bos)",
    "mean(prompt=skip,skip=bos)",
    "weighted_mean(prompt=skip)",
    "layer_mean(tokens=last)",
    "layer_mix(tokens=mean,prompt=skip)",
    "latent(keys=last)",
    "latent(latents=40,heads=2,head_dim=3,init=random)",
    "multilayer(tokens=last)",
    "multilayer(tokens=mean)",
    "multilayer(layer_embedding=false,init=random)",
    "multilayer(input=raw)",
    "mlp(tokens=last)",
    "mlp(tokens=mean)",
    "nv_latent(latents=40,heads=2,head_dim=3,init=random,prompt=skip)",
    "mean(dim=12)",
    "weighted_mean(dim=32)",
    "latent(dim=40)",
    "layer_mix(dim=12)",
    "mean(echo=true)",
    "last(echo=true,dim=12)",
    "soft_tokens(count=3,tokens=last)",
    "soft_tokens(count=3,tokens=mean,dim=12)",
    "landmark(every=2)",
    "landmark(every=3,dim=12)",
    "pma(queries=3,heads=2,dim=10,init=random)",
    "layer_mix(layers=every2)",
    "multilayer(layers=1-2)",
)
PLAIN = [f"{pooling}+{mode}" for pooling in POOLINGS for mode in ATTENTIONS]
WITH_OPTIONS = sorted({str(parse_design(f"{pooling}+{mode}")) for pooling in OPTIONS for mode in ATTENTIONS} - {*PLAIN})
# Each partial attention under a pooling that shows what becomes of it: in some layers, in every token.
PARTIAL = ["multilayer(layers=2-3)+bidirectional(top=1)", "nv_latent+bidirectional(on=prompt)"]
DESIGNS = PLAIN + WITH_OPTIONS + PARTIAL
# Options change the pooling, not the base: they go over one family with rotary and one with absolute positions.
CASES = [(f, d) for f in FAMILIES for d in PLAIN + PARTIAL] + [(f, d) for f in ("llama", "gpt2") for d in WITH_OPTIONS]
PROMPT = "search query : "


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {family: save_tiny_base(folder / family, family) for family in FAMILIES}


def stir(model):
    """Change every trained weight from its initial value, because adapter and heads start partly zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model.eval()


def build(design, base, seed=5):
    return build_model(design, base, seed=seed, max_tokens=32, precision="fp32", prompts={"query": PROMPT})


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def case(request, bases):
    """Design, base, the model with every trained weight changed, and the hashes of its initial weights."""
    family, design = request.param
    before = torch.get_rng_state()
    model = build(design, bases[family])
    assert torch.equal(before, torch.get_rng_state())
    hashes = init_hashes(model)
    return design, bases[family], stir(model), hashes


@cache
def start(base, seed):
    return init_hashes(build("latent+causal", base, seed))


def vectors(model, texts, prompt=PROMPT):
    with torch.no_grad():
        return model(model.preprocess(list(texts), prompt=prompt))["sentence_embedding"]


def difference(a, b):
    return float((a - b).norm(dim=1).max() / torch.pdist(a).mean())


def test_padding_side_and_batch_change_nothing(case):
    _, _, model, _ = case
    right = vectors(model, TEXTS)
    model[0].padding_side = "left"
    try:
        left = vectors(model, TEXTS)
    finally:
        model[0].padding_side = "right"
    assert difference(right, left) < TOLERANCE
    alone = torch.cat([vectors(model, [text]) for text in TEXTS])
    assert difference(right, alone) < TOLERANCE


def token_and_layer_weights(model, features):
    with torch.no_grad():
        read = model[0](features)
        layers = model[1].layer_weights(read)
        return None if layers is not None else model[1].token_weights(read), layers


def test_weights_are_shares_of_the_pooled_tokens_on_either_padding_side(case):
    _, _, model, _ = case
    found = []
    for side in ("right", "left"):
        model[0].padding_side = side
        features = model.preprocess(list(TEXTS), prompt=PROMPT)
        found.append((features["pooling_mask"].bool(), *token_and_layer_weights(model, features)))
    model[0].padding_side = "right"
    for mask, tokens, layers in found:
        shares = layers if tokens is None else tokens
        assert float(shares.min()) >= 0 and torch.allclose(shares.sum(dim=1), torch.ones(len(TEXTS)), atol=1e-6)
        assert tokens is None or not tokens[~mask].any()
    (right_mask, right_tokens, right_layers), (left_mask, left_tokens, left_layers) = found
    if right_tokens is None:
        torch.testing.assert_close(right_layers, left_layers, atol=1e-5, rtol=1e-4)
    else:
        # Masked tokens aside, each text's weights are in the same order.
        torch.testing.assert_close(right_tokens[right_mask], left_tokens[left_mask], atol=1e-4, rtol=1e-3)


def test_saved_model_loads_bit_for_bit(case, tmp_path):
    design, _, model, _ = case
    model.save(str(tmp_path), create_model_card=False)
    loaded = load_model(tmp_path, precision="fp32")
    assert design_of(loaded) == parse_design(design)
    assert loaded.prompts == model.prompts
    assert init_hashes(loaded) == init_hashes(model)
    assert torch.equal(vectors(loaded.eval(), TEXTS), vectors(model, TEXTS))


def first_states(model, text, prompt=PROMPT):
    """Return the state of token 0 after each layer."""
    features = model.preprocess([text], prompt=prompt)
    first = torch.zeros_like(features["attention_mask"])
    first[0, 0] = 1
    model[0].layer_tokens = "last"
    with torch.no_grad():
        return model[0]({**features, "pooling_mask": first})["layer_embeddings"][0]


def moved_layers(model, one, other):
    """Return, by layer, whether the state of token 0 differs between two (prompt, text)."""
    pairs = zip(*(first_states(model, text, prompt) for prompt, text in (one, other)), strict=True)
    return [not torch.equal(a, b) for a, b in pairs]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_partial_attention_reaches_exactly_where_it_says(family, bases):
    text, other = (PROMPT, "a dog runs"), (PROMPT, "a dog fell")
    by_layer, on_prompt = (
        build_model(f"mean+bidirectional({option})", bases[family], method="frozen", max_tokens=32, precision="fp32")
        for option in ("top=2", "on=prompt")
    )
    by_layer.eval(), on_prompt.eval()
    for packs in {by_layer[0].packs, False}:
        by_layer[0].packs = on_prompt[0].packs = packs
        assert moved_layers(by_layer, text, other) == [False, True, True]
        assert moved_layers(on_prompt, text, other) == [False] * 3
        # The same number of tokens, so that nothing but the prompt's last word differs.
        assert moved_layers(on_prompt, text, ("search query , ", "a dog runs")) == [True] * 3
        assert moved_layers(on_prompt, ("", "search query : a dog"), ("", "search query , a dog")) == [False] * 3
        assert probe_attention(by_layer).attention == "bidirectional(top=2)"
        assert probe_attention(on_prompt).attention == "bidirectional(on=prompt)"


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_last_token_moves_the_first_exactly_when_bidirectional(family, attention, bases):
    model = build(f"mean+{attention}", bases[family]).eval()
    probe = probe_attention(model)
    assert probe.attention == attention
    states = [model[0](model.preprocess([text]))["token_embeddings"][0, 0] for text in ("a dog runs", "a dog fell")]
    assert torch.equal(*states) == (attention == "causal")


def test_adapter_start_is_the_same_for_every_design(case):
    design, base, _, hashes = case
    assert hashes["base"] == start(base, 5)["base"]
    assert hashes["lora_init"] == start(base, 5)["lora_init"]
    assert ("head_init" in hashes) == parse_design(design).is_trainable


def test_another_seed_starts_elsewhere(bases):
    first, second = start(bases["llama"], 5), start(bases["llama"], 6)
    assert first["base"] == second["base"]
    assert first["lora_init"] != second["lora_init"]
    assert first["head_init"] != second["head_init"]


@pytest.mark.parametrize(
    ("family", "pooling"),
    [
        *((family, "mean") for family in FAMILIES),
        *(("llama", name) for name in POOLINGS if "prompt" in POOLINGS[name].options),
    ],
)
def test_skipped_prompt_leaves_exactly_its_tokens_out(family, pooling, bases):
    model = build(f"{pooling}(prompt=skip)+causal", bases[family])
    features = model.preprocess([TEXTS[0]], prompt=PROMPT)
    pooled = features["pooling_mask"][0].bool()
    kept = features["input_ids"][0][pooled].tolist()
    assert model.tokenizer.decode(kept).strip().replace(" <eos>", "<eos>") == f"{TEXTS[0]}<eos>"
    assert bool(features["attention_mask"].all())
    plain = model.preprocess([TEXTS[0]])
    assert torch.equal(plain["pooling_mask"], plain["attention_mask"])


def _features(fill):
    """Return states of 3 texts with 5, 3 and 1 pooled tokens, with ``fill`` wherever the mask is 0."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1]]).bool()
    mask[0, 2] = False
    states = torch.randn(3, 6, 16, generator=generator)
    states = torch.where(mask[:, :, None], states, fill).requires_grad_()
    layers = torch.randn(3, 4, 16, generator=generator)
    return {"token_embeddings": states, "attention_mask": mask, "pooling_mask": mask, "layer_embeddings": layers}


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("fill", [float("nan"), float("inf"), 1e30])
def test_masked_positions_never_reach_vector_or_gradient(design, fill):
    torch.manual_seed(1)
    pooling = build_pooling(parse_design(design), 16, 4)
    for weight in pooling.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    dirty, clean = _features(fill), _features(0.0)
    got, wanted = (pooling(x)["sentence_embedding"] for x in (dirty, clean))
    assert got.dtype == torch.float32
    assert torch.equal(got, wanted)
    if not POOLINGS[parse_design(design).pooling].uses_layers:
        got.square().sum().backward()
        gradient = dirty["token_embeddings"].grad
        assert bool(gradient.isfinite().all())
        assert not gradient[~dirty["pooling_mask"]].any()
        assert gradient[dirty["pooling_mask"]].any()


@pytest.mark.parametrize("design", DESIGNS)
def test_pooling_stays_in_fp32(design):
    pooling = build_pooling(parse_design(design), 16, 4).to(torch.bfloat16)
    assert {weight.dtype for weight in pooling.parameters()} <= {torch.float32}
