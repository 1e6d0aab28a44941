"""Causal attention a block of queries at a time against torch's kernel for the whole text."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from poolwise.design import parse_design
from poolwise.modules import build_model
from poolwise.modules.causal_blocks import attend_in_blocks, pays
from tiny_models import save_tiny_base


def states(length, dtype, num_key_heads=4):
    torch.manual_seed(0)
    sizes = (4, num_key_heads, num_key_heads)
    # As they come from packing: heads lie beside each other in a token's row.
    return [torch.randn(2, length, heads, 8).to(dtype).transpose(1, 2) for heads in sizes]


@pytest.mark.parametrize("num_key_heads", [4, 2])
@pytest.mark.parametrize("length", [128, 129, 191, 192, 300, 1024])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 1e-2)]
)
def test_blocks_are_the_whole(length, dtype, tolerance, num_key_heads):
    query, key, value = states(length, dtype, num_key_heads)
    blocks = attend_in_blocks(query, key, value, 0.3)
    whole = scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3, enable_gqa=num_key_heads != 4)
    assert blocks.shape == whole.shape
    assert blocks.dtype == dtype
    assert (blocks - whole).abs().max() < tolerance


def test_long_texts_are_read_in_blocks_where_no_gradient_is_taken():
    long, short, longest = (states(length, torch.float32)[0] for length in (128, 127, 1025))
    assert pays(long)
    assert not pays(short)
    assert not pays(longest)
    assert not pays(long.requires_grad_())
    with torch.no_grad():
        assert pays(long)


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_a_packed_long_text_is_read_as_a_padded_one(attention, tmp_path, monkeypatch):
    base = save_tiny_base(tmp_path / "base", "llama", max_position_embeddings=512)
    model = build_model(parse_design(f"mean+{attention}"), base, max_tokens=300, precision="fp32").eval()
    calls = []
    monkeypatch.setattr("poolwise.modules.packing.attend_in_blocks", lambda *x: calls.append(x) or attend_in_blocks(*x))
    texts = ["stocks fell " * 80, "stocks", "stocks fell again " * 60]
    with torch.no_grad():
        vectors = []
        for packs in (True, False):
            model[0].packs = packs
            vectors.append(model(model.preprocess(texts))["sentence_embedding"])
    assert bool(calls) == (attention == "causal")
    assert (vectors[0] - vectors[1]).abs().max() < 1e-5
