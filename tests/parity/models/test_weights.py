"""Weights of poolings compared with the pooled vectors that they stand for."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from poolwise.design import parse_design
from poolwise.models.pooling import build_pooling

DIM, NUM_LAYERS = 16, 5
MASK = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]]).bool()
NUM_POOLED = (4, 6, 1)


def stirred(design, num_layers=NUM_LAYERS):
    torch.manual_seed(4)
    pooling = build_pooling(parse_design(f"{design}+causal"), DIM, num_layers).double()
    for weight in pooling.parameters():
        weight.data += 0.5 * torch.randn_like(weight)
    return pooling


def features(name="token_embeddings", length=6):
    states = torch.randn(3, length, DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    # Unequal norms, and NaN where nothing may be read.
    states *= torch.arange(1, length + 1, dtype=torch.float64)[:, None]
    if name == "token_embeddings":
        states[~MASK] = torch.nan
    return {name: states, "attention_mask": MASK, "pooling_mask": MASK}


@pytest.mark.parametrize(
    "design",
    [
        *("last", "mean", "weighted_mean", "landmark(every=2)"),
        *("soft_tokens(count=2,tokens=mean)", "soft_tokens(count=2,tokens=last)"),
    ],
)
def test_the_weighted_sum_of_tokens_is_the_pooled_vector(design):
    pooling, given = stirred(design), features()
    weights = pooling.token_weights(given)
    states = torch.where(MASK[:, :, None], given["token_embeddings"], 0.0)
    found = torch.einsum("bt,btd->bd", weights.double(), states)
    assert pooling.weights_kind == "exact"
    torch.testing.assert_close(found, pooling.pool(given), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("design", ["layer_mean", "layer_mix", "layer_mix(layers=every2)"])
def test_the_weighted_sum_of_normalised_layers_is_the_pooled_vector(design):
    pooling, given = stirred(design), features("layer_embeddings", NUM_LAYERS)
    kept = given["layer_embeddings"][:, slice(None, None, 2 if "every2" in design else 1)]
    weights = pooling.layer_weights(given)
    assert pooling.weights_kind == "exact" and weights.shape == kept.shape[:2]
    found = torch.einsum("bl,bld->bd", weights, layer_norm(kept, (DIM,)))
    torch.testing.assert_close(found, pooling.pool(given), atol=1e-9, rtol=1e-9)


def with_weights(head, states, weights):
    """Return the head's vector of one text whose single latent and head attend with ``weights`` (N)."""
    keys = layer_norm(states, (DIM,), head.norm_states.weight, head.norm_states.bias)
    z1 = head.latents + weights[None] @ (keys @ head.to_value.weight.T) @ head.to_out.weight.T
    inner = layer_norm(z1, (DIM,), head.norm_ff.weight, head.norm_ff.bias) @ head.ff_in.weight.T + head.ff_in.bias
    x, gate = inner[:, : 4 * DIM], inner[:, 4 * DIM :]
    return (z1 + (x * gelu(gate)) @ head.ff_out.weight.T + head.ff_out.bias).mean(dim=0)


def test_the_weights_of_one_latent_give_the_vector_of_latent():
    pooling, given = stirred("latent(latents=1,heads=1,head_dim=24,init=random)"), features()
    weights = pooling.token_weights(given)
    assert (weights.max(dim=1).values - 1 / torch.tensor(NUM_POOLED)).abs()[:2].min() > 0.01
    for text, wanted in enumerate(pooling.pool(given)):
        kept = MASK[text]
        found = with_weights(pooling.head, given["token_embeddings"][text][kept], weights[text][kept])
        torch.testing.assert_close(found, wanted, atol=1e-9, rtol=1e-9)


def test_the_weights_of_one_latent_give_the_vector_of_multilayer():
    pooling = stirred("multilayer(latents=1,heads=1,head_dim=24,init=random)")
    given = features("layer_embeddings", NUM_LAYERS)
    weights, states = pooling.layer_weights(given), pooling.states(given)
    for text, wanted in enumerate(pooling.pool(given)):
        found = with_weights(pooling.head, states[text], weights[text])
        torch.testing.assert_close(found, wanted, atol=1e-9, rtol=1e-9)


def test_the_weights_of_one_query_give_the_vector_of_pma():
    pooling, given = stirred("pma(queries=1,heads=1,init=random)"), features()
    head, weights = pooling.head, pooling.token_weights(given)
    for text, wanted in enumerate(pooling.pool(given)):
        tokens = layer_norm(given["token_embeddings"][text][MASK[text]], (DIM,))
        state = head.norm_attended(head.queries + weights[text][MASK[text]][None] @ (tokens @ head.to_value.weight.T))
        found = head.norm_out(state + torch.relu(head.to_out(state))).mean(dim=0)
        torch.testing.assert_close(found, wanted, atol=1e-9, rtol=1e-9)


def plain_attention(queries, keys, num_heads):
    """Return the softmax of each head (H K N)."""
    width = queries.shape[1] // num_heads
    parts = [slice(h * width, (h + 1) * width) for h in range(num_heads)]
    return torch.stack([torch.softmax(queries[:, p] @ keys[:, p].T / math.sqrt(width), dim=-1) for p in parts])


def test_several_latents_and_heads_are_averaged():
    pooling, given = stirred("latent(latents=3,heads=2,head_dim=24)"), features()
    head, weights = pooling.head, pooling.token_weights(given)
    queries = head.to_query(head.norm_latents(head.latents))
    for text in range(3):
        keys = head.to_key(head.norm_states(given["token_embeddings"][text][MASK[text]]))
        wanted = plain_attention(queries, keys, 2).mean(dim=(0, 1))
        torch.testing.assert_close(weights[text][MASK[text]], wanted, atol=1e-9, rtol=1e-9)


def test_several_queries_and_heads_are_averaged():
    pooling, given = stirred("pma(queries=3,heads=2)"), features()
    head, weights = pooling.head, pooling.token_weights(given)
    for text in range(3):
        keys = head.to_key(layer_norm(given["token_embeddings"][text][MASK[text]], (DIM,)))
        wanted = plain_attention(head.to_query(head.queries), keys, 2).mean(dim=(0, 1))
        torch.testing.assert_close(weights[text][MASK[text]], wanted, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("design", ["mlp(tokens=mean)", "nv_latent", "nv_latent(dim=12)"])
def test_occlusion_is_how_far_the_embedding_moves_without_a_token(design):
    pooling, given = stirred(design), features()
    weights = pooling.token_weights(given)
    assert pooling.weights_kind == "measured"
    assert weights[2].tolist() == [0, 0, 0, 0, 0, 1]

    def unit(states):
        one = torch.ones(1, len(states), dtype=torch.bool)
        vector = pooling.embed({"token_embeddings": states[None], "pooling_mask": one, "attention_mask": one})[0]
        return vector / vector.norm()

    for text in (0, 1):
        states = given["token_embeddings"][text][MASK[text]]
        left_out = [torch.cat([states[:place], states[place + 1 :]]) for place in range(len(states))]
        moved = torch.stack([(unit(rest) - unit(states)).norm() for rest in left_out])
        found = weights[text][MASK[text]]
        torch.testing.assert_close(found.double(), moved / moved.sum(), atol=1e-6, rtol=1e-6)
