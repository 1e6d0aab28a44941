"""Models prepared for encoding give the embeddings of the trained models."""

from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer

from poolwise.kernels.packed_linear import PackedLinear
from poolwise.models import build_model, merge_adapters, prepare_encoding
from reference_loop import stock_encode
from tiny_models import TEXTS, save_tiny_base


@pytest.fixture(params=["llama", "gpt2"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return save_tiny_base(tmp_path / "base", request.param)


def trained(base: str) -> torch.nn.Module:
    """Return a model whose adapter is no longer zero."""
    model = build_model("multilayer+bidirectional", base, precision="fp32", max_tokens=32).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    return model


def test_merged_adapters_leave_the_embeddings(base: str) -> None:
    model = trained(base)
    before = torch.tensor(stock_encode(model, list(TEXTS)))
    num_adapters = sum(isinstance(module, LoraLayer) for module in model.modules())
    assert merge_adapters(model) == num_adapters > 0
    after = torch.tensor(stock_encode(model, list(TEXTS)))
    assert (after - before).norm() < 1e-5 * (before[0] - before[1]).norm()
    assert merge_adapters(model) == 0


def test_the_adapter_was_not_a_no_op(base: str) -> None:
    start = build_model("multilayer+bidirectional", base, precision="fp32", max_tokens=32)
    moved = torch.tensor(stock_encode(trained(base), list(TEXTS)) - stock_encode(start, list(TEXTS)))
    assert moved.norm() > 1e-2


@pytest.mark.parametrize("packs_weights", [False, True])
def test_weights_rounded_once_are_what_autocast_rounds_each_time(
    base: str, packs_weights: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not packs_weights:
        monkeypatch.setattr("poolwise.models.merge.pack_linears", lambda _model: 0)
    model = build_model("mean+causal", base, method="frozen", precision="bf16", max_tokens=32).eval()
    before = torch.tensor(stock_encode(model, list(TEXTS)))
    prepare_encoding(model)
    after = torch.tensor(stock_encode(model, list(TEXTS)))
    if not packs_weights or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert torch.equal(after, before)
        return
    if "llama" in type(model[0].model).__name__.lower():
        assert isinstance(model[0].model.layers[0].mlp.up_proj, PackedLinear)
    # In another memory layout, weights may be summed in another order: the same bits on a Zen 4, not on every CPU.
    assert (after - before).norm(dim=1).max() < 5e-3


def test_fp32_models_stay_fp32(base: str) -> None:
    model = prepare_encoding(trained(base))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
