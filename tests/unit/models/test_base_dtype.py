"""Weights of a frozen base in bf16: what stays fp32, what embeddings and losses they give, and what is refused."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

from poolwise.config import build_recipe
from poolwise.errors import ConfigError, ModelError
from poolwise.kernels.fused_training import fused_training
from poolwise.kernels.narrow import computed_in_fp32, looks_wide, widened
from poolwise.models import base_dtype as rules
from poolwise.models import build_model, init_hashes, load_model, prepare_encoding
from poolwise.models.base_dtype import held_when_loaded, hold_base_in
from poolwise.models.bases import load_base
from poolwise.records import load_steps
from reference_loop import stock_encode
from tiny_models import TEXTS, save_tiny_base
from toy_training import toy_config, toy_train

PRECISIONS: dict[str, Any] = {"train.precision": "auto"}


def published_in_bf16(folder: Path, family: str) -> str:
    """Write a tiny base whose weights are bf16 numbers, as most published ones are."""
    base = save_tiny_base(folder, family)
    AutoModel.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    return base


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_base(tmp_path_factory.mktemp("base"), "llama")


def build(base: str, dtype: str, design: str = "multilayer+bidirectional", **settings: Any) -> Any:
    return build_model(design, base, precision="bf16", base_dtype=dtype, max_tokens=32, **settings)  # type: ignore[arg-type]


def stirred(model: Any) -> Any:
    """Return the model with an adapter that is no longer zero."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.05
    return model.eval()


def test_matrices_of_the_base_are_bf16_and_everything_that_is_trained_is_fp32(llama: str) -> None:
    model = build(llama, "bf16")
    for name, weight in model.named_parameters():
        is_base_matrix = name.startswith("0.") and weight.ndim >= 2 and "lora" not in name
        assert weight.dtype == (torch.bfloat16 if is_base_matrix else torch.float32), name
        assert not (is_base_matrix and weight.requires_grad)
    wide = build(llama, "fp32")
    assert {weight.dtype for weight in wide.parameters()} == {torch.float32}
    # PEFT would round the adapter's start to the base's dtype.
    assert init_hashes(model)["lora_init"] == init_hashes(wide)["lora_init"]
    assert init_hashes(model)["base"] != init_hashes(wide)["base"]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_a_base_published_in_bf16_gives_the_same_bits_in_either_dtype(family: str, tmp_path: Path) -> None:
    base = published_in_bf16(tmp_path, family)
    narrow, wide = (stirred(build(base, dtype)) for dtype in ("bf16", "fp32"))
    assert (stock_encode(narrow, list(TEXTS)) == stock_encode(wide, list(TEXTS))).all()
    # Merged weights are the sum, rounded once.
    assert (narrow.encode(TEXTS) == wide.encode(TEXTS)).all()
    assert (prepare_encoding(narrow).encode(TEXTS) == wide.encode(TEXTS)).all()


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_losses_are_the_same_bits_on_a_base_published_in_bf16(dropout: float, tmp_path: Path) -> None:
    base, config = published_in_bf16(tmp_path / "base", "llama"), toy_config(precision="bf16", lora_dropout=dropout)
    losses = []
    for dtype in ("bf16", "fp32"):
        model = build(base, dtype, lora_dropout=dropout)
        toy_train(model, config, tmp_path / dtype)
        losses.append([step.loss for step in load_steps(tmp_path / dtype / "training.jsonl")])
    assert losses[0] == losses[1] and len(set(losses[0])) == config.steps


def test_a_base_published_in_fp32_is_rounded_once(llama: str, tmp_path: Path) -> None:
    config = toy_config(precision="bf16", lora_dropout=0.0)
    losses, vectors = [], []
    for dtype in ("bf16", "fp32"):
        model = build(llama, dtype)
        toy_train(model, config, tmp_path / dtype)
        losses.append(torch.tensor([step.loss for step in load_steps(tmp_path / dtype / "training.jsonl")]))
        vectors.append(torch.tensor(model.encode(TEXTS)))
    # Only the embedding table is rounded more than autocast rounds; the weights of this base are ten times as large as
    # usual.
    assert 0 < (losses[0] - losses[1]).abs().max() < 0.02
    assert 0 < (vectors[0] - vectors[1]).norm(dim=1).max() < 0.04 * torch.pdist(vectors[1]).mean()


def test_no_fp32_copy_of_a_matrix_is_made_in_training_or_encoding(llama: str) -> None:
    def wide_copies(shapes: set[tuple[int, ...]]) -> list[tuple[int, ...]]:
        gc.collect()
        found = [x for x in gc.get_objects() if type(x) in (torch.Tensor, torch.nn.Parameter)]
        return [tuple(x.shape) for x in found if x.dtype == torch.float32 and tuple(x.shape) in shapes]

    model = build(llama, "bf16", "mean+causal", lora_dropout=0.0, lora_rank=3)
    # Square ones could be activations.
    shapes = {tuple(w.shape) for w in model[0].model.parameters() if w.dtype == torch.bfloat16}
    shapes = {shape for shape in shapes if shape[0] != shape[1]}
    before = wide_copies(shapes)
    with fused_training(model[0].model, torch.bfloat16) as count:
        assert count == 3 * 7 + 3 * 3, "norms, attention and adapters of three layers"
        model(model.preprocess(list(TEXTS)))["sentence_embedding"].sum().backward()
        assert wide_copies(shapes) == before
    stirred(model).encode(TEXTS)
    assert model._fast is not None
    assert wide_copies(shapes) == before


def test_a_saved_model_keeps_its_rounding(llama: str, tmp_path: Path) -> None:
    model = stirred(build(llama, "bf16"))
    model.save(str(tmp_path / "m"), create_model_card=False)
    assert json.loads((tmp_path / "m" / "poolwise.json").read_text())["base_dtype"] == "bf16"
    again = load_model(tmp_path / "m", precision="bf16")
    assert (again.encode(TEXTS) == model.encode(TEXTS)).all()
    assert init_hashes(again) == init_hashes(model)
    # Products in fp32 need fp32 weights, with the values of the bf16 ones.
    wide = load_model(tmp_path / "m", precision="fp32")
    assert {w.dtype for w in wide.parameters()} == {torch.float32} and wide[0].precision == "fp32"
    table = load_base(llama, "bf16")[0].get_input_embeddings().weight
    assert torch.equal(wide[0].model.get_input_embeddings().weight, table.float())
    wide.save(str(tmp_path / "again"), create_model_card=False)
    assert json.loads((tmp_path / "again" / "poolwise.json").read_text())["base_dtype"] == "bf16"
    build(llama, "fp32").save(str(tmp_path / "plain"), create_model_card=False)
    assert "base_dtype" not in json.loads((tmp_path / "plain" / "poolwise.json").read_text())


def test_auto_is_bf16_where_products_are_and_the_base_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    def held(asked: Any, method: str = "lora", **precisions: Any) -> str:
        return hold_base_in(asked, method=method, precisions=precisions, device="cpu")

    for is_fast in (True, False):
        monkeypatch.setattr("poolwise.kernels.precision.has_fast_bf16", lambda device, fast=is_fast: fast)
        assert held("auto", a="auto") == ("bf16" if is_fast else "fp32")
        assert held("auto", a="bf16") == held("bf16", a="bf16") == "bf16"
        assert held("auto", a="fp32") == held("auto", a="bf16", b="fp32") == held("fp32", a="bf16") == "fp32"
        assert held("auto", method="full", a="bf16") == "fp32"
        assert held_when_loaded("bf16", "auto", "cpu") == ("bf16" if is_fast else "fp32")
        assert held_when_loaded("fp32", "bf16", "cpu") == "fp32" or held_when_loaded("fp32", "auto", "cpu") == "fp32"
    with pytest.raises(ConfigError, match=r"products on cpu are fp32 \(a: auto\).*set base_dtype: auto, or a: bf16"):
        held("bf16", a="auto")


@pytest.mark.parametrize("dtype", ["bf16", "nf4"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"method": "full"}}, r"method is full: most updates of a step are smaller than the spacing"),
        ({"eval": {"precision": "fp32"}}, r"eval\.precision fp32: products in fp32 would need an fp32 copy"),
    ],
)
def test_a_recipe_is_refused_with_the_reason(dtype: str, changes: dict[str, Any], message: str) -> None:
    tree: dict[str, Any] = {"name": "a", "base": "b", "designs": ["mean+causal"], "reference": "mean+causal"}
    tree |= {"data": {"train": ["x"]}, "tasks": ["t"]}
    with pytest.raises(ConfigError, match=message):
        build_recipe(tree | {"base_dtype": dtype} | changes)
    build_recipe(tree | {"base_dtype": dtype})
    build_recipe(tree | {"base_dtype": "auto"} | changes)
    if dtype == "nf4":
        with pytest.raises(ConfigError, match="adapter cannot be merged into 4-bit weights"):
            build_recipe(tree | {"base_dtype": dtype, "adapt": {}})


def test_a_model_is_refused_with_the_reason(llama: str) -> None:
    with pytest.raises(ConfigError, match="most updates of a step are smaller"):
        build(llama, "bf16", method="full")
    model = build(llama, "bf16", method="frozen")
    with pytest.raises(ModelError, match="weights are held in bf16; wanted auto or bf16"):
        model[0].precision = "fp32"


def test_4_bits_are_refused_with_all_that_is_missing(llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs a CUDA device \(this is cpu\) and the package bitsandbytes"):
        build_model("mean+causal", llama, precision="bf16", base_dtype="nf4", device="cpu")
    monkeypatch.setattr(rules, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match=r"needs a CUDA device \(this is cpu\); wanted"):
        hold_base_in("nf4", method="lora", precisions=PRECISIONS, device="cpu")
    assert hold_base_in("nf4", method="lora", precisions={"p": "bf16"}, device="cuda") == "nf4"
    options = rules.loading_options("nf4", "cuda:0")
    assert options["device_map"] == {"": torch.device("cuda:0")}
    assert options["quantization_config"].bnb_4bit_quant_type == "nf4"  # type: ignore[attr-defined]


def test_checks_compute_in_fp32_and_leave_the_weights_as_they_were(llama: str) -> None:
    model = AutoModel.from_pretrained(llama, dtype=torch.bfloat16).eval()
    exact = AutoModel.from_pretrained(llama, dtype=torch.bfloat16).float().eval()
    before = {name: (w.dtype, w.data_ptr()) for name, w in model.named_parameters()}
    ids = torch.arange(12).view(2, 6)
    with torch.no_grad():
        rounded = model(ids).last_hidden_state
        with computed_in_fp32(model):
            found = model(ids).last_hidden_state
        wanted = exact(ids).last_hidden_state
    assert found.dtype == torch.float32
    assert (found - wanted).abs().max() < 1e-5 < (rounded - wanted).abs().max()
    with pytest.raises(RuntimeError, match="stop"), computed_in_fp32(model):
        raise RuntimeError("stop")
    with widened(model.layers[0], model.layers[0].mlp):
        assert {w.dtype for w in model.layers[0].parameters()} == {torch.float32}
        assert model.layers[1].mlp.up_proj.weight.dtype == torch.bfloat16
    with looks_wide(model):
        assert model.layers[1].mlp.up_proj.weight.dtype == torch.float32
    assert {name: (w.dtype, w.data_ptr()) for name, w in model.named_parameters()} == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with torch.no_grad():
        assert torch.equal(model(ids).last_hidden_state, rounded)
