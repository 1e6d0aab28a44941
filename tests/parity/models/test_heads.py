"""Both trainable heads compared with the paper's equations, computed text by text and head by head."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from poolwise.design import parse_design
from poolwise.models.pooling import build_pooling

DIM, NUM_LAYERS = 16, 5


def plain_head(head, states):
    """Return e = mean over latents of Z2, for one text with states X (N D), without rewritings or masks."""
    size = head.size
    keys = layer_norm(states, (DIM,), head.norm_states.weight, head.norm_states.bias)
    normed = layer_norm(head.latents, (DIM,), head.norm_latents.weight, head.norm_latents.bias)
    query, key, value = normed @ head.to_query.weight.T, keys @ head.to_key.weight.T, keys @ head.to_value.weight.T
    outputs = []
    for h in range(size.heads):
        part = slice(h * size.head_dim, (h + 1) * size.head_dim)
        scores = query[:, part] @ key[:, part].T / math.sqrt(size.head_dim)
        outputs.append(torch.softmax(scores, dim=-1) @ value[:, part])
    z1 = head.latents + torch.cat(outputs, dim=-1) @ head.to_out.weight.T
    inner = layer_norm(z1, (DIM,), head.norm_ff.weight, head.norm_ff.bias) @ head.ff_in.weight.T + head.ff_in.bias
    x, gate = inner[:, : 4 * DIM], inner[:, 4 * DIM :]
    z2 = z1 + (x * gelu(gate)) @ head.ff_out.weight.T + head.ff_out.bias
    return z2.mean(dim=0)


def plain_states(pooling, features, text):
    if "layer_embeddings" in features:
        raw = features["layer_embeddings"][text]
        embedding = 0 if pooling.layers is None else pooling.layers
        return (raw - raw.mean(-1, keepdim=True)) / (raw.var(-1, keepdim=True, correction=0) + 1e-5).sqrt() + embedding
    tokens = features["token_embeddings"][text][features["pooling_mask"][text]]
    return tokens[-1:] if pooling.keys == "last" else tokens


def plain(pooling, features):
    batch = len(features["attention_mask"])
    return torch.stack([plain_head(pooling.head, plain_states(pooling, features, i)) for i in range(batch)])


def features_for(design, dtype):
    generator = torch.Generator().manual_seed(2)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]]).bool()
    name, length = ("layer_embeddings", NUM_LAYERS) if design.pooling == "multilayer" else ("token_embeddings", 6)
    # Unequal norms by layer, as in real models.
    scale = torch.arange(1, length + 1)[:, None] ** 2
    states = torch.randn(3, length, DIM, generator=generator, dtype=torch.float64) * scale
    return {name: states.to(dtype).requires_grad_(), "attention_mask": mask, "pooling_mask": mask}


# Few latents average first; many form V Wo first. Both orders must agree with the equations.
SIZES = ("latents=3,heads=2,head_dim=24", "latents=64,heads=3,head_dim=8")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("init", ["mean", "random"])
@pytest.mark.parametrize(
    "pooling_text", ["latent", "latent(keys=last)", "multilayer", "multilayer(layer_embedding=false)"]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_value_and_every_gradient(pooling_text, init, size, dtype, tolerance):
    text = f"{pooling_text.rstrip(')')}{',' if '(' in pooling_text else '('}{size},init={init})+causal"
    design = parse_design(text)
    torch.manual_seed(4)
    pooling = build_pooling(design, DIM, NUM_LAYERS)
    for weight in pooling.parameters():
        weight.data += 0.3 * torch.randn_like(weight)
    pooling = pooling.to(dtype)
    features = features_for(design, dtype)
    direction = torch.randn(3, DIM, dtype=dtype)

    def run(function):
        states = next(value for value in features.values() if value.requires_grad)
        value = function(features)
        wanted = dict(pooling.named_parameters()) | {"states": states}
        gradients = torch.autograd.grad((value * direction).sum(), list(wanted.values()))
        return {"value": value, **dict(zip(wanted, gradients, strict=True))}

    got = run(lambda x: pooling(x)["sentence_embedding"])
    wanted = run(lambda x: plain(pooling, x))
    for name, expected in wanted.items():
        scale = max(float(expected.detach().abs().max()), 1e-3)
        assert float((got[name] - expected).detach().abs().max()) / scale < tolerance, name
    silent = {name for name, gradient in got.items() if not gradient.any()}
    # One key makes the softmax 1 whatever the query: the paper's design 2 never trains these.
    expected_silent = {
        "head.to_query.weight",
        "head.to_key.weight",
        "head.norm_latents.weight",
        "head.norm_latents.bias",
    }
    assert silent == (expected_silent if "last" in pooling_text else set())


def test_both_orders_of_the_output_projection_are_covered():
    heads = [build_pooling(parse_design(f"multilayer({size})+causal"), DIM, NUM_LAYERS).head for size in SIZES]
    assert [head.folds_output(NUM_LAYERS) for head in heads] == [False, True]
