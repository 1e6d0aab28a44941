"""Packed batches compared with padded ones on every packable architecture: states, layers and gradients."""

from __future__ import annotations

import pytest
import torch

from poolwise.design import ATTENTIONS
from poolwise.kernels.packing import PACKABLE, PackedReduction, pack_batch
from poolwise.kernels.reduction import reduce_tokens
from poolwise.models import build_model
from tiny_models import TEXTS, save_tiny_base

# Repeats make groups of equal length; the single texts make groups of one.
PROMPT = "search query : "
BATCH = [*TEXTS, TEXTS[1], TEXTS[0], "stocks"]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {family: save_tiny_base(folder / family, family) for family in sorted(PACKABLE)}


def build(family, design, bases, side):
    model = build_model(design, bases[family], max_tokens=32, precision="fp32", lora_dropout=0.0)
    assert model[0].packs
    model[0].padding_side = side
    with torch.no_grad():
        for weight in model[0].parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    return model


def outcome(model, packs):
    """Return the embeddings, and the gradient of their sum for every trained weight."""
    model[0].packs = packs
    model.zero_grad()
    vectors = model(model.preprocess(BATCH, prompt=PROMPT))["sentence_embedding"]
    (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
    return vectors.detach(), {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}


POOLINGS = ("multilayer(tokens=last)", "multilayer(tokens=mean)", "latent")
CASES = [(pooling, mode, side) for pooling in POOLINGS for mode in ATTENTIONS for side in ("left", "right")]
CASES += [("multilayer(tokens=mean)", mode, "left") for mode in ("bidirectional(top=1)", "bidirectional(on=prompt)")]


@pytest.mark.parametrize(("pooling", "attention", "side"), CASES)
@pytest.mark.parametrize("family", sorted(PACKABLE))
def test_packed_is_padded(family, pooling, attention, side, bases):
    model = build(family, f"{pooling}+{attention}", bases, side)
    (fast, fast_gradients), (slow, slow_gradients) = outcome(model, packs=True), outcome(model, packs=False)
    assert (fast - slow).norm(dim=1).max() < 1e-5 * torch.pdist(slow).mean()
    assert fast_gradients.keys() == slow_gradients.keys()
    whole = torch.cat([gradient.flatten() for gradient in slow_gradients.values()]).norm()
    for name, gradient in slow_gradients.items():
        assert (fast_gradients[name] - gradient).norm() < 1e-5 * whole, name


@pytest.mark.parametrize("tokens", ["last", "mean"])
@pytest.mark.parametrize("num_skipped", [0, 1])
def test_reduction_is_that_of_padded_states(tokens, num_skipped):
    lengths = torch.tensor([3, 2, 5, 2])
    mask = torch.arange(5) >= 5 - lengths[:, None]
    pooled = mask & (torch.arange(5) >= 5 - lengths[:, None] + num_skipped)
    states = torch.randn(4, 5, 6)
    packing = pack_batch(mask)
    reduced = PackedReduction(packing, packing.pack(pooled), tokens)(packing.pack(states))
    torch.testing.assert_close(reduced, reduce_tokens(states, pooled, tokens))


def test_a_text_of_not_a_number_stays_alone():
    mask = torch.ones(3, 2, dtype=torch.bool)
    states = torch.randn(3, 2, 4)
    states[1] = torch.nan
    packing = pack_batch(mask)
    reduced = PackedReduction(packing, packing.pack(mask), "mean")(packing.pack(states))
    assert reduced[[0, 2]].isfinite().all() and reduced[1].isnan().all()


def test_unpacked_padding_is_zero_and_tokens_are_back():
    mask = torch.tensor([[0, 1, 1], [1, 1, 1], [0, 0, 1]]).bool()
    states = torch.randn(3, 3, 4)
    packing = pack_batch(mask)
    assert torch.equal(packing.unpack(packing.pack(states)), torch.where(mask[:, :, None], states, 0.0))
    assert packing.groups == [(1, 1), (1, 2), (1, 3)] and packing.boundaries.tolist() == [0, 1, 3, 6]


def test_beyond_a_sliding_window_texts_are_padded(tmp_path):
    model = build_model("mean+causal", save_tiny_base(tmp_path, "mistral"), max_tokens=32, precision="fp32")
    model[0].longest_packable = 4
    mask = torch.ones(2, 5, dtype=torch.long)
    assert not model[0]._can_pack(mask) and model[0]._can_pack(mask[:, :4])
