"""Heads on stored states against the same frozen model read as always: embeddings, losses and trained weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from poolwise.data import build_schedule
from poolwise.models import build_model, design_of, head_hash, layer_weights
from poolwise.screening import StoredEncoder, build_stored_model
from poolwise.training import train_model
from stored_states import MAX_TOKENS, toy_store
from tiny_models import TEXTS, save_tiny_base
from toy_training import SOURCE, toy_config, toy_model, toy_train, toy_triples

POOLINGS = (
    "last",
    "mean",
    "mean(prompt=skip)",
    "mean(skip=bos)",
    "mean(prompt=skip,skip=bos)",
    "weighted_mean",
    "weighted_mean(prompt=skip)",
    "layer_mean",
    "layer_mix",
    "layer_mix(prompt=skip,tokens=mean)",
    "latent",
    "latent(prompt=skip)",
    "latent(keys=last)",
    "multilayer",
    "multilayer(tokens=last)",
    "multilayer(tokens=mean,layer_embedding=false,init=random)",
    "mlp",
    "mlp(tokens=mean)",
    "nv_latent",
    "mean(dim=12)",
    "multilayer(dim=40)",
    "pma",
    "pma(queries=2,dim=12)",
    "layer_mix(layers=every2)",
    "multilayer(layers=1-2)",
)
PARTIAL = ("bidirectional(top=1)", "bidirectional(on=prompt)")
OF_PARTIAL = ("mean", "nv_latent(prompt=skip)", "multilayer(layers=last2)")
"""Poolings tried with partial attentions, which change the states and not what is done with them."""
CASES = [(pooling, mode) for pooling in POOLINGS for mode in ("causal", "bidirectional")]
CASES += [(pooling, mode) for pooling in OF_PARTIAL for mode in PARTIAL]
PROMPTS = ("", "search query : ")
KEYS = [(prompt, text) for prompt in PROMPTS for text in TEXTS]
# Measured worst cases: fp32 against itself 2.4e-7 (other batches), float16 states 3e-4; room for other machines.
TOLERANCE = {"float32": 2e-6, "float16": 2e-3}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def base(request, tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base"), request.param)


@pytest.fixture(scope="module", params=["float32", "float16"])
def stores(request, base, tmp_path_factory):
    designs = {mode: [f"{pooling}+{mode}" for pooling, m in CASES if m == mode] for _, mode in CASES}
    root = tmp_path_factory.mktemp("states")
    return {a: toy_store(base, a, KEYS, names, root, kept=request.param) for a, names in designs.items()}


@pytest.mark.parametrize(("pooling", "attention"), CASES)
def test_a_head_on_stored_states_embeds_as_the_frozen_model(stores, base, pooling, attention):
    store = stores[attention]
    design = f"{pooling}+{attention}"
    slow = build_model(design, base, seed=3, method="frozen", max_tokens=MAX_TOKENS, precision="fp32").eval()
    fast = build_stored_model(design_of(slow), store, seed=3, precision="fp32")
    assert head_hash(fast) == head_hash(slow)
    encoder = StoredEncoder(fast)
    for prompt in PROMPTS:
        expected = slow.encode(list(TEXTS), prompt=prompt)
        assert np.abs(encoder.encode(TEXTS, prompt) - expected).max() < TOLERANCE[store.spec.kept]


def flat(model):
    return torch.cat([weight.detach().flatten() for weight in model[1].parameters()])


SAME = ("step", "tokens", "negatives", "head_learning_rate", "learning_rate")
TRAINED = (
    "last(dim=12)+causal",
    "layer_mix+causal",
    "latent+bidirectional",
    "multilayer+causal",
    "mlp+bidirectional",
)


@pytest.mark.parametrize("design", TRAINED)
@pytest.mark.parametrize("mini_batch_size", [8, 2], ids=["one forward", "GradCache"])
def test_a_head_trains_on_stored_states_as_on_the_frozen_model(tmp_path, design, mini_batch_size):
    base = save_tiny_base(tmp_path / "base", "llama")
    config = toy_config(method="frozen", head_learning_rate=1e-3, mini_batch_size=mini_batch_size)
    triples = toy_triples()
    schedule = build_schedule(triples, steps=config.steps, batch_size=config.batch_size, seed=1)
    losses = {"slow": [], "fast": []}
    slow = toy_model(design, base, config, seed=1)
    options = {"triples": triples, "schedule": schedule, "seed": 1}
    toy_train(slow, config, tmp_path / "slow", on_step=lambda step: losses["slow"].append(step), **options)
    keys = [("", text) for triple in triples for text in triple.texts]
    store = toy_store(base, design.split("+")[1], keys, [design], tmp_path / "states")
    fast = build_stored_model(design_of(slow), store, seed=1, precision="fp32")
    train_model(
        fast,
        triples,
        schedule,
        config,
        out=tmp_path / "fast",
        seed=1,
        prompts={},
        source_category={SOURCE: "retrieval"},
        on_step=lambda step: losses["fast"].append(step),
    )
    for a, b in zip(losses["slow"], losses["fast"], strict=True):
        assert [getattr(a, name) for name in SAME] == [getattr(b, name) for name in SAME]
        assert (a.loss, a.grad_norm) == pytest.approx((b.loss, b.grad_norm), rel=1e-3)
    assert losses["slow"][0].loss == pytest.approx(losses["fast"][0].loss, abs=2e-6)
    assert len({step.loss for step in losses["slow"]}) == config.steps
    start, end = flat(toy_model(design, base, config, seed=1)), flat(slow)
    assert (flat(fast) - end).norm() < 0.02 * (end - start).norm()
    texts = [triple.positive for triple in triples[:8]]
    expected = layer_weights(slow, texts)
    assert layer_weights(fast, texts) == (None if expected is None else pytest.approx(expected, abs=1e-5))
