"""Attention in blocks and by products compared with torch's kernel for the whole text."""

from functools import partial

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from poolwise.design import parse_design
from poolwise.kernels import text_attention
from poolwise.kernels.packing import pack_batch, packed_attention
from poolwise.kernels.text_attention import attend_by_products, attend_in_blocks, attend_text, blocks_pay, products_pay
from poolwise.models import build_model
from tiny_models import save_tiny_base

TOLERANCES = [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 1e-2)]
"""Norm of the difference relative to the norm of the kernel's result; at most 2e-15, 4e-7 and 5e-3 were seen."""
FORMS = {
    ("blocks", True): attend_in_blocks,
    ("products", True): partial(attend_by_products, is_causal=True),
    ("products", False): partial(attend_by_products, is_causal=False),
}


def states(length, dtype=torch.float32, num_key_heads=4, num_texts=2):
    torch.manual_seed(0)
    sizes = (4, num_key_heads, num_key_heads)
    # The memory layout that packing gives: the heads of a token are adjacent.
    return [torch.randn(num_texts, length, heads, 8).to(dtype).transpose(1, 2) for heads in sizes]


def kernel(query, key, value, scale, is_causal):
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(query, key, value, is_causal=is_causal, scale=scale, enable_gqa=grouped)


def apart(found, wanted):
    return (found.double() - wanted.double()).norm() / wanted.double().norm()


@pytest.fixture(params=[True, False], ids=["tiles", "no-tiles"])
def tiles(request, monkeypatch):
    """Simulate a CPU with AMX and one without, whatever machine this is."""
    monkeypatch.setattr(text_attention, "has_tiles", lambda: request.param)
    return request.param


@pytest.mark.parametrize("num_key_heads", [4, 2, 1])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 128, 129, 300, 1024])
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_is_the_kernel(form, dtype, tolerance, length, num_key_heads):
    query, key, value = states(length, dtype, num_key_heads)
    found = FORMS[form](query, key, value, 0.3)
    whole = kernel(query, key, value, 0.3, form[1])
    assert found.shape == whole.shape
    assert found.dtype == dtype
    assert apart(found, whole) < tolerance


@pytest.mark.parametrize("is_causal", [True, False])
def test_without_a_scale_it_is_that_of_the_width(is_causal):
    found = attend_by_products(*states(70), None, is_causal=is_causal)
    torch.testing.assert_close(found, kernel(*states(70), None, is_causal))


@pytest.mark.parametrize("is_causal", [True, False])
def test_what_all_keys_share_changes_nothing(is_causal):
    query, key, value = states(100, torch.float64)
    moved = attend_by_products(query, key + 10, value, 0.3, is_causal=is_causal)
    assert (moved - attend_by_products(query, key, value, 0.3, is_causal=is_causal)).abs().max() < 1e-12


def test_keys_with_much_in_common_cost_no_exactness():
    # A bias of 10 in each of 8 dimensions: scores of 800 * 0.3 that differ by single digits, as in Qwen 2.
    query, key, value = (x.float() for x in states(200, torch.float32))
    narrow = [(query + 10).bfloat16(), (key + 10).bfloat16(), value.bfloat16()]
    exact = kernel(*(x.double() for x in narrow), 0.3, False)
    error = (attend_by_products(*narrow, 0.3, is_causal=False) - exact).norm() / exact.norm()
    of_kernel = (kernel(*narrow, 0.3, False) - exact).norm() / exact.norm()
    rounded = ((narrow[0] @ narrow[1].transpose(-1, -2)) * 0.3).softmax(-1) @ narrow[2]
    assert error < 3 * of_kernel + 0.02
    assert (rounded - exact).norm() / exact.norm() > 10 * error


@pytest.mark.parametrize("is_causal", [True, False])
def test_padding_is_hidden(is_causal):
    query, key, value = states(70)
    late = torch.zeros(2, 10)
    late[1, 4:] = -torch.inf
    found = attend_by_products(query, key, value, 0.3, is_causal=is_causal, late=None if is_causal else late)
    for text, length in enumerate((70, 64)):
        alone = kernel(*(x[text : text + 1, :, :length] for x in (query, key, value)), 0.3, is_causal)
        assert (found[text : text + 1, :, :length] - alone).abs().max() < 1e-6


def test_not_a_number_stays_in_its_text():
    query, key, value = states(70)
    key[1] = torch.nan
    found = attend_by_products(query, key, value, 0.3, is_causal=True)
    assert found[0].isfinite().all() and found[1].isnan().all()


def test_long_texts_are_read_in_blocks_where_no_gradient_is_taken():
    long, short, longest = (states(length)[0] for length in (128, 127, 1025))
    assert blocks_pay(long)
    assert not blocks_pay(short)
    assert not blocks_pay(longest)
    assert not blocks_pay(long.requires_grad_())
    with torch.no_grad():
        assert blocks_pay(long)


def test_products_are_for_bf16_without_tiles_where_no_gradient_is_taken(tiles):
    narrow = states(40, torch.bfloat16)[0]
    assert products_pay(narrow) == (not tiles)
    assert not products_pay(states(40)[0])
    assert not products_pay(narrow.requires_grad_())


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("length", [1, 40, 200])
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_whatever_form_is_taken_the_attention_is_the_kernels(tiles, dtype, tolerance, length, is_causal):
    query, key, value = states(length, dtype, 2)
    found = attend_text(query, key, value, 0.3, is_causal=is_causal)
    assert apart(found, kernel(query, key, value, 0.3, is_causal)) < tolerance


LENGTHS = [[5, 5, 5], [1, 2, 3, 17, 18, 40], [300, 280, 200, 1], [128]]


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("idle", [0, 3])
def test_texts_of_near_lengths_in_one_batch_are_those_alone(idle, lengths, is_causal, monkeypatch):
    monkeypatch.setattr("poolwise.kernels.packing.products_pay", lambda _query: True)
    packing = pack_batch(torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])
    assert [length for group in packing.near_groups for length in group.lengths] == sorted(lengths)
    total = sum(lengths)
    query, key, value = (torch.randn(1, heads, total + idle, 8) for heads in (4, 2, 2))
    module = torch.nn.Module()
    module.config = type("Config", (), {"is_causal": is_causal})()
    found, _ = packed_attention(module, query, key, value, None, packing=packing, scaling=0.3)
    assert found.shape == (1, total + idle, 4, 8)
    assert not found[:, total:].any()
    start = 0
    for length in sorted(lengths):
        place = slice(start, start + length)
        alone = kernel(query[:, :, place], key[:, :, place], value[:, :, place], 0.3, is_causal)
        assert (found[:, place].transpose(1, 2) - alone).abs().max() < 1e-6
        start += length


def test_lengths_that_differ_little_are_one_group():
    lengths = [8, 24, 25, 160, 180, 181]
    packing = pack_batch(torch.arange(181) < torch.tensor(lengths)[:, None])
    assert [group.lengths for group in packing.near_groups] == [[8, 24], [25], [160, 180], [181]]
    assert [group.start for group in packing.near_groups] == [0, 32, 57, 397]


@pytest.mark.parametrize("attention", ["causal", "bidirectional", "bidirectional(top=1)", "bidirectional(on=prompt)"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_packed_batch_is_read_as_a_padded_one(precision, attention, tiles, tmp_path):
    base = save_tiny_base(tmp_path / "base", "llama", max_position_embeddings=512)
    model = build_model(parse_design(f"mean+{attention}"), base, max_tokens=300, precision=precision).eval()
    texts = ["stocks fell " * 80, "stocks", "stocks fell again " * 60, "stocks fell " * 75]
    with torch.no_grad():
        vectors = []
        for packs in (True, False):
            model[0].packs = packs
            vectors.append(model(model.preprocess(texts, prompt="search : "))["sentence_embedding"])
    assert (vectors[0] - vectors[1]).abs().max() < {"fp32": 1e-5, "bf16": 1e-2}[precision]


def test_blocks_are_taken_for_a_long_causal_text(tiles, tmp_path, monkeypatch):
    base = save_tiny_base(tmp_path / "base", "llama", max_position_embeddings=512)
    calls = []
    monkeypatch.setattr(text_attention, "attend_in_blocks", lambda *x: calls.append(x) or attend_in_blocks(*x))
    for attention, precision, taken in (("causal", "fp32", True), ("bidirectional", "fp32", False)):
        model = build_model(parse_design(f"mean+{attention}"), base, max_tokens=300, precision=precision).eval()
        with torch.no_grad():
            model(model.preprocess(["stocks fell " * 80]))
        assert bool(calls) == taken
        calls.clear()
