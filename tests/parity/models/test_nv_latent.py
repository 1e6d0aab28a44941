"""Attention from tokens to latents compared with the equations, computed token by token and head by head."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from poolwise.design import parse_design
from poolwise.models.pooling import build_pooling

DIM = 16
# Few wide heads fold what depends on parameters alone; many latents and narrow heads do not.
SIZES = ("latents=5,heads=2,head_dim=24", "latents=64,heads=3,head_dim=2")


def plain_token(head, token):
    """Return X2 of one token."""
    size = head.size
    state = (token - token.mean()) / (token.var(correction=0) + 1e-5).sqrt()
    query = head.to_query.weight @ layer_norm(state, (DIM,), head.norm_states.weight, head.norm_states.bias)
    latents = layer_norm(head.latents, (DIM,), head.norm_latents.weight, head.norm_latents.bias)
    key, value = latents @ head.to_key.weight.T, latents @ head.to_value.weight.T
    heads = []
    for h in range(size.heads):
        part = slice(h * size.head_dim, (h + 1) * size.head_dim)
        weights = torch.softmax(key[:, part] @ query[part] / math.sqrt(size.head_dim), dim=0)
        heads.append(weights @ value[:, part])
    state = state + head.to_out.weight @ torch.cat(heads)
    inner = head.ff_in.weight @ layer_norm(state, (DIM,), head.norm_ff.weight, head.norm_ff.bias) + head.ff_in.bias
    return state + head.ff_out.weight @ (inner[: 4 * DIM] * gelu(inner[4 * DIM :])) + head.ff_out.bias


def plain(head, states, mask):
    texts = [[plain_token(head, token) for token in text[kept]] for text, kept in zip(states, mask, strict=True)]
    return torch.stack([torch.stack(tokens).mean(dim=0) for tokens in texts])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("init", ["mean", "random"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_value_and_every_gradient(size, init, dtype, tolerance):
    torch.manual_seed(4)
    pooling = build_pooling(parse_design(f"nv_latent({size},init={init})+causal"), DIM, 3)
    for weight in pooling.parameters():
        weight.data += 0.3 * torch.randn_like(weight)
    pooling = pooling.to(dtype)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]]).bool()
    scale = torch.arange(1, 7, dtype=dtype)[:, None] ** 2
    states = (torch.randn(3, 6, DIM, dtype=dtype) * scale).requires_grad_()
    direction = torch.randn(3, DIM, dtype=dtype)

    def run(vectors):
        wanted = dict(pooling.named_parameters()) | {"states": states}
        gradients = torch.autograd.grad((vectors * direction).sum(), list(wanted.values()))
        return {"value": vectors, **dict(zip(wanted, gradients, strict=True))}

    features = {"token_embeddings": states, "attention_mask": mask, "pooling_mask": mask}
    got, wanted = run(pooling(features)["sentence_embedding"]), run(plain(pooling.head, states, mask))
    for name, expected in wanted.items():
        assert got[name].any(), name
        scale = max(float(expected.detach().abs().max()), 1e-3)
        assert float((got[name] - expected).detach().abs().max()) / scale < tolerance, name


def test_both_orders_of_computation_are_covered():
    heads = [build_pooling(parse_design(f"nv_latent({size})+causal"), DIM, 3).head for size in SIZES]
    assert [head.folds(11) for head in heads] == [True, False]
