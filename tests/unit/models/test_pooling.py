"""Poolings of layers and trainable heads with answers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import layer_norm

from poolwise.design import POOLINGS, parse_design
from poolwise.models.pooling import build_pooling
from poolwise.models.pooling.cross_attention import HeadSize, head_size

MASK = torch.ones(1, 3, dtype=torch.bool)
# Layer 1 normalises to (-1, 1), layer 2 to (1, -1) whatever their norms.
LAYERS = torch.tensor([[[1.0, 3.0], [500.0, 300.0]]])


def pooled(pooling, **states):
    return pooling({"attention_mask": MASK, "pooling_mask": MASK, **states})["sentence_embedding"]


def count(pooling):
    return sum(weight.numel() for weight in pooling.parameters())


def test_layer_mean_is_uniform_over_normalised_layers():
    pooling = build_pooling(parse_design("layer_mean+causal"), 2, 2)
    assert pooled(pooling, layer_embeddings=LAYERS)[0].tolist() == pytest.approx([0, 0], abs=1e-4)


def test_layer_mix_weighs_by_softmax():
    pooling = build_pooling(parse_design("layer_mix+causal"), 2, 2)
    assert pooling.weights().tolist() == [0.5, 0.5]
    pooling.logits.data = torch.tensor([3.0, 1.0]).log()
    # 3/4 (-1, 1) + 1/4 (1, -1)
    assert pooled(pooling, layer_embeddings=LAYERS)[0].tolist() == pytest.approx([-0.5, 0.5], abs=1e-4)


def test_a_subset_pools_its_layers_alone():
    pooling = build_pooling(parse_design("layer_mean(layers=last1)+causal"), 2, 2)
    assert pooled(pooling, layer_embeddings=LAYERS)[0].tolist() == pytest.approx([1, -1], abs=1e-4)
    pooling = build_pooling(parse_design("layer_mix(layers=2)+causal"), 2, 2)
    assert pooling.weights().tolist() == [1.0]
    assert pooled(pooling, layer_embeddings=LAYERS)[0].tolist() == pytest.approx([1, -1], abs=1e-4)
    pooling = build_pooling(parse_design("multilayer(layers=every2)+causal"), 16, 5)
    assert pooling.layers.shape == (3, 16)
    states = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    other = states.clone()
    other[:, [1, 3]] = torch.nan
    assert torch.equal(pooled(pooling, layer_embeddings=states), pooled(pooling, layer_embeddings=other))


def test_all_layers_start_as_they_did_without_subsets():
    states = {}
    for design in ("multilayer+causal", "multilayer(layers=1-5)+causal"):
        torch.manual_seed(0)
        states[design] = build_pooling(parse_design(design), 16, 5).state_dict()
    one, two = states.values()
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert "layers" in one  # the name under which saved models hold the layer embedding


def test_untrained_nv_latent_is_the_mean_of_normalised_tokens_and_has_the_size_of_latent():
    torch.manual_seed(0)
    pooling, latent = (build_pooling(parse_design(f"{name}+causal"), 64, 6) for name in ("nv_latent", "latent"))
    states = torch.randn(2, 3, 64) * torch.tensor([0.1, 5, 20])[:, None]
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
    found = pooling({"token_embeddings": states, "attention_mask": mask, "pooling_mask": mask})["sentence_embedding"]
    normed = layer_norm(states, (64,))
    torch.testing.assert_close(found, torch.stack([normed[0, :2].mean(dim=0), normed[1].mean(dim=0)]))
    assert count(pooling) == count(latent)


@pytest.mark.parametrize("design", ["latent+causal", "multilayer+causal"])
def test_untrained_head_returns_about_the_mean_of_its_normalised_states(design):
    torch.manual_seed(0)
    pooling = build_pooling(parse_design(design), 64, 6)
    states = torch.randn(4, 6, 64) * torch.tensor([0.1, 1, 5, 20, 100, 3])[:, None]
    mask = torch.ones(4, 6, dtype=torch.bool)
    features = {"token_embeddings": states, "layer_embeddings": states, "attention_mask": mask, "pooling_mask": mask}
    wanted = layer_norm(states, (64,)).mean(dim=1)
    # Attention is not quite uniform at the start, hence "about".
    assert torch.cosine_similarity(pooling(features)["sentence_embedding"], wanted).min() > 0.9
    kept = pooling.head.to_out(pooling.head.to_value(states))
    assert torch.allclose(kept, states, rtol=1e-5)


def test_a_projection_is_the_last_step_and_starts_as_an_isometry():
    states = torch.randn(4, 3, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(4, 3, dtype=torch.bool)
    features = {"token_embeddings": states, "attention_mask": mask, "pooling_mask": mask}
    plain = build_pooling(parse_design("mean+causal"), 16, 2)(features)["sentence_embedding"]
    for width in (6, 16, 40):
        pooling = build_pooling(parse_design(f"mean(dim={width})+causal"), 16, 2)
        assert (pooling.get_embedding_dimension(), count(pooling)) == (width, 16 * width)
        found = pooling(features)["sentence_embedding"]
        torch.testing.assert_close(found, plain @ pooling.projection.weight.T)
        if width >= 16:
            torch.testing.assert_close(torch.cdist(found, found), torch.cdist(plain, plain))
        else:
            rows = pooling.projection.weight
            torch.testing.assert_close(rows @ rows.T, torch.eye(width))
    assert torch.equal(build_pooling(parse_design("mean(dim=16)+causal"), 16, 2)(features)["sentence_embedding"], plain)


@pytest.mark.parametrize("name", [name for name in POOLINGS if POOLINGS[name].is_trainable and name != "pma"])
def test_a_pooling_starts_the_same_with_and_without_a_projection(name):
    states = []
    for options in ("", "(dim=12)"):
        torch.manual_seed(0)
        states.append(build_pooling(parse_design(f"{name}{options}+causal"), 16, 3).state_dict())
    plain, projected = states
    assert projected.keys() - plain.keys() == {"projection.weight"}
    assert all(torch.equal(value, projected[key]) for key, value in plain.items())


def test_default_size_is_the_papers_at_its_own_width():
    paper = HeadSize(latents=768, heads=32, head_dim=2048)
    assert head_size(parse_design("multilayer+causal"), 4096) == paper
    assert head_size(parse_design("multilayer(size=paper)+causal"), 896) == paper
    assert head_size(parse_design("latent+causal"), 256) == HeadSize(48, 4, 128)
    assert head_size(parse_design("latent(size=paper,heads=2)+causal"), 256) == HeadSize(768, 2, 2048)


def test_paper_size_has_the_papers_number_of_parameters():
    with torch.device("meta"):
        pooling = build_pooling(parse_design("paper:3"), 4096, 32)
    assert count(pooling) / 1e9 == pytest.approx(1.278, abs=5e-4)


@pytest.mark.parametrize(("dim", "num_layers"), [(32, 3), (256, 12), (896, 24)])
def test_mlp_has_as_many_parameters_as_multilayer(dim, num_layers):
    with torch.device("meta"):
        mlp = build_pooling(parse_design("mlp+causal"), dim, num_layers)
        multilayer = build_pooling(parse_design("multilayer+causal"), dim, num_layers)
    # One hidden unit more or less is 2 dim + 1 parameters.
    assert abs(count(mlp) - count(multilayer)) <= dim + 1


def test_untrained_mlp_is_the_normalised_state():
    pooling = build_pooling(parse_design("mlp+causal"), 2, 2)
    states = torch.tensor([[[9.0, 9.0], [9.0, 9.0], [1.0, 3.0]]])
    assert pooled(pooling, token_embeddings=states)[0].tolist() == pytest.approx([-1, 1], abs=1e-4)


def test_head_narrower_than_the_base_keeps_the_dimensions_it_has():
    pooling = build_pooling(parse_design("latent(heads=1,head_dim=3)+causal"), 8, 2)
    state = torch.arange(8.0)
    kept = pooling.head.to_out(pooling.head.to_value(state))
    assert kept.tolist() == pytest.approx([0, 1, 2, 0, 0, 0, 0, 0])
