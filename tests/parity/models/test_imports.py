"""Imported models give the embeddings of the layouts they come from, written out here from their equations."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from poolwise.errors import PoolwiseError
from poolwise.imports import import_model, llm2vec
from poolwise.imports.build import GRITLM_PROMPT, checks_text
from poolwise.models import load_model
from tiny_models import HIDDEN, NUM_LAYERS, TEXTS, save_tiny_base

HEADS, INNER, LATENTS = 2, 24, 5
ATTENTION, FF = "cross_attend_blocks.0", "cross_attend_blocks.1"
# The worst seen is 3e-7: sums in another order, in fp32.
TOLERANCE = 2e-6


def save_lora(base: str, folder: Path, seed: int, *, on: Any = None, rank: int = 4) -> Path:
    """Write an adapter whose update is not zero, as PEFT saves one."""
    torch.manual_seed(seed)
    model = AutoModel.from_pretrained(base) if on is None else on
    config = LoraConfig(r=rank, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    adapted = get_peft_model(model, config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.2)
    adapted.save_pretrained(str(folder))
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": base}))
    return folder


def random_head(*, layers: int | None, dim: int = HIDDEN) -> dict[str, Tensor]:
    """A state dict in the layout of the paper's code."""
    torch.manual_seed(3)
    shapes = {
        "latents": (LATENTS, dim),
        f"{ATTENTION}.norm.weight": (dim,),
        f"{ATTENTION}.norm.bias": (dim,),
        f"{ATTENTION}.norm_context.weight": (dim,),
        f"{ATTENTION}.norm_context.bias": (dim,),
        f"{ATTENTION}.fn.to_q.weight": (INNER, dim),
        f"{ATTENTION}.fn.to_kv.weight": (2 * INNER, dim),
        f"{ATTENTION}.fn.to_out.weight": (dim, INNER),
        f"{FF}.norm.weight": (dim,),
        f"{FF}.norm.bias": (dim,),
        f"{FF}.fn.net.0.weight": (8 * dim, dim),
        f"{FF}.fn.net.0.bias": (8 * dim,),
        f"{FF}.fn.net.2.weight": (dim, 4 * dim),
        f"{FF}.fn.net.2.bias": (dim,),
    }
    shapes |= {"pos_emb.weight": (layers, dim)} if layers else {}
    return {name: torch.randn(*shape) * 0.3 for name, shape in shapes.items()}


def head_by_equations(w: Mapping[str, Tensor], states: Tensor) -> Tensor:
    """Z + Attention(latents -> states), then the feed-forward, the mean over latents, and length 1; states (N D)."""

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    z = w["latents"]
    query = norm(z, f"{ATTENTION}.norm_context") @ w[f"{ATTENTION}.fn.to_q.weight"].T
    both = norm(states, f"{ATTENTION}.norm") @ w[f"{ATTENTION}.fn.to_kv.weight"].T
    width = INNER // HEADS
    parts = []
    for head in range(HEADS):
        own = slice(head * width, (head + 1) * width)
        key, value = both[:, :INNER][:, own], both[:, INNER:][:, own]
        parts.append((query[:, own] @ key.T / width**0.5).softmax(-1) @ value)
    z = z + torch.cat(parts, dim=-1) @ w[f"{ATTENTION}.fn.to_out.weight"].T
    wide = norm(z, f"{FF}.norm") @ w[f"{FF}.fn.net.0.weight"].T + w[f"{FF}.fn.net.0.bias"]
    half = wide.shape[-1] // 2
    inner = wide[:, :half] * functional.gelu(wide[:, half:])
    z = z + inner @ w[f"{FF}.fn.net.2.weight"].T + w[f"{FF}.fn.net.2.bias"]
    return functional.normalize(z.mean(0), dim=-1)


@torch.no_grad()
def hidden(model: Any, ids: Sequence[int], *, is_causal: bool) -> tuple[Tensor, ...]:
    """The states of every layer for one text, without padding."""
    model.eval()
    model.config.is_causal = is_causal
    for part in model.modules():
        if hasattr(part, "config"):
            part.config.is_causal = is_causal
    found = model(input_ids=torch.tensor([list(ids)]), output_hidden_states=True, use_cache=False)
    return tuple(layer[0] for layer in found.hidden_states[1:])


PAPER = {
    2: ("latent(keys=last,heads=2)+causal", lambda layers, _: layers[-1][-1:]),
    3: ("multilayer(heads=2)+causal", lambda layers, p: torch.stack([x[-1] for x in layers]) + p),
    4: ("latent(heads=2)+bidirectional", lambda layers, _: layers[-1]),
    5: ("multilayer(heads=2)+bidirectional", lambda layers, p: torch.stack([x.mean(0) for x in layers]) + p),
}


@pytest.mark.parametrize("number", PAPER)
def test_the_papers_models_are_mapped_exactly(number: int, tmp_path: Path) -> None:
    design, enters = PAPER[number]
    base = save_tiny_base(tmp_path / "base", "llama")
    folder = save_lora(base, tmp_path / "theirs", 1)
    # Their embedding of layers always has 32 rows, and their code writes the file beside the folder.
    weights = random_head(layers=32 if number in (3, 5) else None)
    torch.save(weights, folder / "attn_pool.pt" if number == 2 else tmp_path / "theirsattn_pool.pt")
    record = import_model([str(folder)], tmp_path / "ours", design=design, max_tokens=48)
    reference = PeftModel.from_pretrained(AutoModel.from_pretrained(base), str(folder))
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = load_model(tmp_path / "ours", precision="fp32")
    found = model.encode(list(TEXTS))
    for row, text in zip(found, TEXTS, strict=True):
        ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        layers = hidden(reference, ids, is_causal=number in (2, 3))
        position = weights["pos_emb.weight"][:NUM_LAYERS] if number in (3, 5) else None
        wanted = head_by_equations(weights, enters(layers, position))
        assert (torch.tensor(row) - wanted).abs().max() < TOLERANCE
    assert model[0].attention == ("causal" if number in (2, 3) else "bidirectional")
    assert record.tokens[-1] == "<eos>" and record.probe["unpadded"] is (number in (4, 5))
    saved = json.loads((tmp_path / "ours" / "imported.json").read_text())
    assert saved == asdict(record) and {check["name"] for check in saved["checks"]} >= {"attention", "eos"}
    if number == 5:
        assert "29 layer embeddings beyond the 3 layers are never read" in record.notes
        assert "input=raw" in record.design


def merged(base: str, *folders: Path) -> Any:
    model = AutoModel.from_pretrained(base)
    for folder in folders:
        model = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    return model


@pytest.mark.parametrize("wraps", [False, True])
def test_llm2vec_merges_both_adapters_and_pools_the_text_alone(
    wraps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_tiny_base(tmp_path / "base", "llama")
    first = save_lora(base, tmp_path / "mntp", 1)
    second = save_lora(base, tmp_path / "supervised", 2, on=merged(base, first))
    (second / "llm2vec_config.json").write_text(json.dumps({"pooling_mode": "mean", "max_length": 40}))
    before, after = ("search : ", " : document") if wraps else ("", "")
    monkeypatch.setattr(llm2vec, "WRAPPERS", {base: (before, after)} if wraps else {})
    record = import_model([str(first), str(second)], tmp_path / "ours")
    reference, tokenizer = merged(base, first, second), AutoTokenizer.from_pretrained(base)
    model = load_model(tmp_path / "ours", precision="fp32")
    found = model.encode(list(TEXTS))
    for row, text in zip(found, TEXTS, strict=True):
        ids = tokenizer(f"{before}{text}{after}")["input_ids"]
        num_pooled = len(tokenizer(f"{text}{after}", add_special_tokens=False)["input_ids"])
        states = hidden(reference, ids, is_causal=False)[-1][-num_pooled:]
        assert (torch.tensor(row) - functional.normalize(states.mean(0), dim=-1)).abs().max() < TOLERANCE
    assert record.tokens[-1] == ("document" if wraps else ".") and model.max_seq_length == 40
    assert not (tmp_path / "ours" / "adapter_config.json").exists()


def test_a_second_adapter_that_names_the_first_brings_it_along(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base", "llama")
    first = save_lora(base, tmp_path / "mntp", 1)
    second = save_lora(str(first), tmp_path / "supervised", 2, on=merged(base, first))
    (second / "llm2vec_config.json").write_text("{}")
    assert [lora.folder for lora in llm2vec.adapters_in_order([second])] == [first, second]


def test_gritlm_pools_the_text_after_its_prompt_and_runs_no_code(tmp_path: Path) -> None:
    folder = tmp_path / "GritLM"
    base = save_tiny_base(folder, "mistral", with_head=True)
    settings = json.loads((folder / "config.json").read_text())
    code = {"auto_map": {"AutoModelForCausalLM": "modeling_gritlm7b.MistralForCausalLM"}}
    (folder / "config.json").write_text(json.dumps(settings | code))
    (folder / "modeling_gritlm7b.py").write_text("raise SystemExit('their code ran')")
    record = import_model([str(folder)], tmp_path / "ours", max_tokens=48)
    assert record.format == "gritlm"
    assert record.code_not_run == [
        "AutoModelForCausalLM: modeling_gritlm7b.MistralForCausalLM",
        "modeling_gritlm7b.py",
    ]
    reference, tokenizer = AutoModel.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    model = load_model(tmp_path / "ours", precision="fp32")
    num_prompt = len(tokenizer(GRITLM_PROMPT)["input_ids"])
    for row, text in zip(model.encode(list(TEXTS)), TEXTS, strict=True):
        states = hidden(reference, tokenizer(GRITLM_PROMPT + text)["input_ids"], is_causal=False)[-1]
        wanted = functional.normalize(states[num_prompt:].mean(0), dim=-1)
        assert (torch.tensor(row) - wanted).abs().max() < TOLERANCE
    assert any("not run" in line for line in checks_text(record))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, another base of another width, and an adapter with its head."""
    root = tmp_path_factory.mktemp("theirs")
    base = save_tiny_base(root / "base", "llama")
    save_tiny_base(root / "wide", "llama", hidden_size=48)
    save_tiny_base(root / "gpt", "gpt2")
    folder = save_lora(base, root / "adapter", 1)
    torch.save(random_head(layers=NUM_LAYERS), folder / "attn_pool.pt")
    return root


FIVE = "multilayer(heads=2)+bidirectional"


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle ran code",))


def copied(theirs: Path, to: Path, **config: object) -> Path:
    to.mkdir()
    for path in (theirs / "adapter").iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    settings = json.loads((to / "adapter_config.json").read_text())
    (to / "adapter_config.json").write_text(json.dumps(settings | config))
    return to


def refused(folders: Sequence[Path], out: Path, **options: Any) -> str:
    with pytest.raises(PoolwiseError) as caught:
        import_model([str(folder) for folder in folders], out, **options)
    assert not (out / "poolwise.json").exists()
    return str(caught.value)


def test_an_adapter_of_another_base_is_one_error(theirs: Path, tmp_path: Path) -> None:
    adapter, out = theirs / "adapter", tmp_path / "out"
    wide = refused([adapter], out, design=FIVE, base=str(theirs / "wide"))
    assert "does not fit base" in wide and "wanted (4, 48)" in wide and "with --base (it names " in wide
    assert "belongs to no linear layer" in refused([adapter], out, design=FIVE, base=str(theirs / "gpt"))
    moved = copied(theirs, tmp_path / "moved", base_model_name_or_path="/gone/mistral")
    assert "was trained on '/gone/mistral', which is not here" in refused([moved], out, design=FIVE)
    ranked = copied(theirs, tmp_path / "ranked", r=9)
    assert "wanted (9, 32) with rank 9" in refused([ranked], out, design=FIVE)
    odd = copied(theirs, tmp_path / "odd", modules_to_save=["embed_tokens"])
    assert "wanted plain LoRA" in refused([odd], out, design=FIVE)


def test_every_weight_of_a_head_must_have_its_place_and_shape(theirs: Path, tmp_path: Path) -> None:
    folder, out = copied(theirs, tmp_path / "a"), tmp_path / "out"
    whole = random_head(layers=NUM_LAYERS)
    missing = {name: tensor for name, tensor in whole.items() if name != f"{FF}.norm.bias"}
    torch.save(missing | {"extra": torch.zeros(2)}, folder / "attn_pool.pt")
    text = refused([folder], out, design=FIVE)
    assert f"{FF}.norm.bias is missing" in text and "extra (2,) has no place in multilayer" in text
    torch.save(whole | {"pos_emb.weight": torch.zeros(2, HIDDEN)}, folder / "attn_pool.pt")
    assert "pos_emb.weight is (2, 32); wanted (3, 32)" in refused([folder], out, design=FIVE)
    torch.save(whole, folder / "attn_pool.pt")
    assert "pos_emb.weight (3, 32) has no place in latent" in refused(
        [folder], out, design="latent(heads=2)+bidirectional"
    )
    assert "wanted the number of heads" in refused([folder], out, design="paper:5")
    assert "heads=5 does not divide 24" in refused([folder], out, design="multilayer(heads=5)+bidirectional")
    assert "wanted none for paper:1" in refused([folder], out, design="paper:1")
    assert "none of the paper's" in refused([folder], out, design="mean+bidirectional")
    assert "wanted one folder, and --design" in refused([folder], out)


def test_a_pickle_with_more_than_tensors_is_not_opened(theirs: Path, tmp_path: Path) -> None:
    folder = copied(theirs, tmp_path / "a")
    (folder / "attn_pool.pt").write_bytes(pickle.dumps(Harmful()))
    assert "as weights only" in refused([folder], tmp_path / "out", design=FIVE)
    torch.save([1, 2], folder / "attn_pool.pt")
    assert "holds a list" in refused([folder], tmp_path / "out", design=FIVE)


def test_what_cannot_be_mapped_is_refused_with_the_reason(theirs: Path, tmp_path: Path) -> None:
    nv, out = tmp_path / "nv", tmp_path / "out"
    nv.mkdir()
    named = {"auto_map": {"AutoModel": "modeling_nvembed.NVEmbedModel"}, "latent_attention_config": {}}
    (nv / "config.json").write_text(json.dumps(named))
    text = refused([nv], out)
    assert "nv_latent normalises these states first" in text and "modeling_nvembed.NVEmbedModel" in text
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.Model"}}))
    (other / "evil.py").write_text("raise SystemExit")
    text = refused([other], out)
    assert "its code would run AutoModel: evil.Model, evil.py, which poolwise does not" in text
    (theirs / "adapter" / "llm2vec_config.json").write_text(json.dumps({"pooling_mode": "eos_token"}))
    try:
        assert "its pooling_mode is eos_token" in refused([theirs / "adapter"], out)
    finally:
        (theirs / "adapter" / "llm2vec_config.json").unlink()
    assert "is not a folder" in refused([tmp_path / "nowhere"], out)
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert "is not empty" in refused([theirs / "adapter"], out, design=FIVE)
