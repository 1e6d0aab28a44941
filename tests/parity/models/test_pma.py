"""Pooling by multihead attention compared with the equations, computed text by text and head by head."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import layer_norm

from poolwise.design import parse_design
from poolwise.models.pooling import build_pooling

DIM = 16


def plain_text(head, tokens):
    """Return e of one text with tokens (T D)."""
    normed = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    query, key, value = (
        states @ linear.weight.T
        for states, linear in ((head.queries, head.to_query), (normed, head.to_key), (normed, head.to_value))
    )
    outputs = []
    for h in range(head.heads):
        part = slice(h * head.head_dim, (h + 1) * head.head_dim)
        scores = query[:, part] @ key[:, part].T / math.sqrt(head.head_dim)
        outputs.append(torch.softmax(scores, dim=-1) @ value[:, part])
    width = (head.queries.shape[1],)
    state = head.queries + torch.cat(outputs, dim=-1)
    state = layer_norm(state, width, head.norm_attended.weight, head.norm_attended.bias)
    state = state + torch.relu(state @ head.to_out.weight.T + head.to_out.bias)
    return layer_norm(state, width, head.norm_out.weight, head.norm_out.bias).mean(dim=0)


@pytest.mark.parametrize("options", ["", "queries=3,heads=2,dim=10", "dim=40,heads=5"])
@pytest.mark.parametrize("init", ["mean", "random"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_value_and_every_gradient(options, init, dtype, tolerance):
    torch.manual_seed(4)
    pooling = build_pooling(parse_design(f"pma({options}{',' if options else ''}init={init})+causal"), DIM, 3)
    for weight in pooling.parameters():
        weight.data += 0.3 * torch.randn_like(weight)
    pooling = pooling.to(dtype)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]]).bool()
    scale = torch.arange(1, 7, dtype=dtype)[:, None] ** 2
    states = (torch.randn(3, 6, DIM, dtype=dtype) * scale).requires_grad_()
    direction = torch.randn(3, pooling.get_embedding_dimension(), dtype=dtype)

    def run(vectors):
        wanted = dict(pooling.named_parameters()) | {"states": states}
        gradients = torch.autograd.grad((vectors * direction).sum(), list(wanted.values()))
        return {"value": vectors, **dict(zip(wanted, gradients, strict=True))}

    features = {"token_embeddings": states, "attention_mask": mask, "pooling_mask": mask}
    found = run(pooling(features)["sentence_embedding"])
    wanted = run(torch.stack([plain_text(pooling.head, text[kept]) for text, kept in zip(states, mask, strict=True)]))
    for name, expected in wanted.items():
        assert found[name].any(), name
        scale = max(float(expected.detach().abs().max()), 1e-3)
        assert float((found[name] - expected).detach().abs().max()) / scale < tolerance, name


def test_untrained_pma_is_about_the_normalised_mean_of_its_tokens():
    torch.manual_seed(0)
    pooling = build_pooling(parse_design("pma+causal"), 64, 3)
    states, mask = torch.randn(4, 6, 64) * 5, torch.ones(4, 6, dtype=torch.bool)
    found = pooling({"token_embeddings": states, "attention_mask": mask, "pooling_mask": mask})["sentence_embedding"]
    wanted = layer_norm(states, (64,)).mean(dim=1)
    assert torch.cosine_similarity(found, wanted).min() > 0.95


@pytest.mark.parametrize(("design", "heads"), [("pma", 4), ("pma(dim=6)", 3), ("pma(dim=7)", 1), ("pma(dim=1024)", 8)])
def test_default_heads_divide_the_width(design, heads):
    with torch.device("meta"):
        assert build_pooling(parse_design(f"{design}+causal"), 64, 3).heads == heads
