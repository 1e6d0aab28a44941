"""The plain Hugging Face folder: merged weights, attention in the config, and a tokenizer that adds BOS and EOS."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from poolwise.export.plain_folder import write_plain
from tiny_models import HAS_BOS, WORDS, save_tiny_base
from toy_exports import moved_model

FAMILIES = ("llama", "qwen3", "gpt2", "gpt_neox")
BOS, EOS = 1, 2


@pytest.fixture(scope="module", params=FAMILIES)
def written(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    model = moved_model("mean+bidirectional", save_tiny_base(folder / "base", request.param), max_tokens=12)
    (folder / "export").mkdir()
    write_plain(model, folder / "export")
    return request.param, model, folder / "export"


def test_the_tokenizer_adds_what_poolwise_adds(written) -> None:
    _, model, folder = written
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    texts = ["a dog runs", "", " ", "stocks <eos> fell", " ".join(WORDS), "one <bos> two <pad>"]
    rows, _ = model[0].tokens.encode(texts, "", 12)
    assert tokenizer(texts, truncation=True)["input_ids"] == rows


def test_a_truncated_text_keeps_bos_and_eos(written) -> None:
    family, _, folder = written
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    (ids,) = tokenizer([" ".join(WORDS * 9)], truncation=True)["input_ids"]
    assert len(ids) == 12 and ids[-1] == EOS and ids.count(EOS) == 1
    assert (ids[0] == BOS) == (family in HAS_BOS)


def test_padding_is_on_the_right_and_masked(written) -> None:
    _, _, folder = written
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    batch = tokenizer(["a dog runs", "stocks"], padding=True)
    assert batch["attention_mask"][1][-1] == 0 and batch["attention_mask"][1][0] == 1


def test_the_config_holds_the_attention(written) -> None:
    _, _, folder = written
    config = json.loads((folder / "config.json").read_text())
    assert config["is_causal"] is False and config["dtype"] == "float32"
    assert AutoModel.from_pretrained(folder, trust_remote_code=False).config.is_causal is False


def test_weights_are_those_of_the_base_with_the_adapter_added(written) -> None:
    family, model, folder = written
    plain = AutoModel.from_pretrained(folder, trust_remote_code=False).state_dict()
    adapted = {name: m for name, m in model[0].model.named_modules() if hasattr(m, "lora_A")}
    assert adapted
    for name, layer in adapted.items():
        product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * layer.scaling["default"]
        weight = layer.base_layer.weight + (product.T if family == "gpt2" else product)
        torch.testing.assert_close(plain[f"{name}.weight"], weight, atol=1e-6, rtol=0)
    assert not any("lora" in name for name in plain)


def test_the_model_is_not_changed(tmp_path) -> None:
    model = moved_model("mean+causal", save_tiny_base(tmp_path / "base", "llama"))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    (tmp_path / "export").mkdir()
    write_plain(model, tmp_path / "export")
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_chat_template_stays_behind(tmp_path) -> None:
    base = save_tiny_base(tmp_path / "base", "llama")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{% for m in messages %}chat {{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(base)
    assert (tmp_path / "base" / "chat_template.jinja").is_file()
    model = moved_model("mean+causal", base)
    (tmp_path / "export").mkdir()
    write_plain(model, tmp_path / "export")
    assert AutoTokenizer.from_pretrained(tmp_path / "export").chat_template is None
    assert not (tmp_path / "export" / "chat_template.jinja").exists()
