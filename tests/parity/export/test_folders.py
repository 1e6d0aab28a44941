"""Each design in each target of ours, loaded by the libraries alone, compared with the model of poolwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from poolwise.design import POOLINGS
from poolwise.export import bundled_modules, merged, run_merged, sentence_folder
from poolwise.export.golden import golden_vectors, probe_texts, save_texts
from tiny_models import save_tiny_base
from toy_exports import moved_model

STOCK = ("last+causal", "last+bidirectional", "mean+causal", "mean+bidirectional", "weighted_mean+causal")
PROJECTED = ("mean(dim=8)+bidirectional", "weighted_mean(dim=16)+causal")
BUNDLED = (
    *(f"{pooling}+bidirectional" for pooling in POOLINGS if pooling not in ("last", "mean", "weighted_mean")),
    *("layer_mix(tokens=last,layers=last2)+bidirectional", "layer_mean(layers=2,dim=8)+causal", "paper:2", "paper:3"),
    *(
        "multilayer(layer_embedding=false,layers=1-2)+causal",
        "multilayer(input=raw)+causal",
        "pma(queries=2,dim=16)+causal",
        "mlp+causal",
    ),
    *("mean(skip=bos)+causal", "mean(prompt=skip)+bidirectional", "weighted_mean(prompt=skip)+causal"),
    *("mean(echo=true)+causal", "last(echo=true)+bidirectional", "soft_tokens(count=3)+causal"),
    *("landmark(every=4)+causal", "landmark(every=3,dim=8)+bidirectional(on=prompt)"),
    *("mean+bidirectional(top=2)", "multilayer+bidirectional(top=1)", "mean(prompt=skip)+bidirectional(on=prompt)"),
)
TOLERANCE = 3e-6
"""The largest difference was 6.6e-7 over the designs and bases of this file."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {
        family: save_tiny_base(folder / family, family) for family in ("llama", "qwen3", "gpt2", "gpt_neox", "gemma2")
    }


def differences(model, vectors):
    return np.abs(vectors - golden_vectors(model, probe_texts(model))).max(axis=1)


def encoded(loaded, model):
    """Return the vectors of the probe set by sentence-transformers, the texts of a prompt in one batch."""
    probes = probe_texts(model)
    vectors = np.empty((len(probes), model.get_embedding_dimension()), dtype=np.float32)
    for name in {probe.prompt_name for probe in probes}:
        places = [place for place, probe in enumerate(probes) if probe.prompt_name == name]
        texts = [probes[place].text for place in places]
        vectors[places] = loaded.encode(texts, prompt=model.prompts[name] if name else "")
    return vectors


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("design", STOCK)
def test_stock_modules_give_the_same(bases, tmp_path, design, family):
    model = moved_model(design, bases[family])
    sentence_folder.write(model, tmp_path, options={})
    assert not list(tmp_path.rglob("*.py"))
    assert differences(model, encoded(SentenceTransformer(str(tmp_path), device="cpu"), model)).max() < TOLERANCE


@pytest.mark.parametrize("design", PROJECTED)
def test_a_projection_is_a_stock_module(bases, tmp_path, design):
    model = moved_model(design, bases["llama"])
    sentence_folder.write(model, tmp_path, options={})
    loaded = SentenceTransformer(str(tmp_path), device="cpu")
    assert loaded.get_embedding_dimension() == model.get_embedding_dimension() != 32
    assert differences(model, encoded(loaded, model)).max() < TOLERANCE


@pytest.mark.parametrize(("design", "family"), [*((d, "llama") for d in BUNDLED), *((d, "gpt2") for d in BUNDLED[-8:])])
def test_the_bundled_file_gives_the_same(bases, tmp_path, monkeypatch, design, family):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    model = moved_model(design, bases[family])
    (folder := tmp_path / "export").mkdir()
    sentence_folder.write(model, folder, options={})
    loaded = SentenceTransformer(str(folder), device="cpu", trust_remote_code=True)
    assert loaded.get_embedding_dimension() == model.get_embedding_dimension()
    assert differences(model, encoded(loaded, model)).max() < TOLERANCE


READ = (
    *("latent+causal", "mean(prompt=skip)+bidirectional", "mean(skip=bos)+causal"),
    *("last(echo=true)+causal", "landmark(every=3)+causal", "landmark(every=1)+bidirectional"),
)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("design", READ)
@pytest.mark.parametrize("splits", [True, False])
def test_the_bundled_file_reads_the_same_tokens(bases, tmp_path, design, family, splits):
    model = moved_model(design, bases[family], split_special_tokens=splits)
    sentence_folder.write(model, tmp_path, options={})
    reader = bundled_modules.Reader.load(str(tmp_path))
    # Ends of texts and of prompts: texts that end with EOS, prompts that end with a token or inside of one.
    texts = ["stocks fell <eos>", "<eos>", "<eos> <eos>", "a dog runs", "", "one two " * 30, "<bos> dog"]
    texts += ["a dog <eos> runs <eos> in the park"]
    for prompt in (
        "",
        "search query :",
        "search query : ",
        "search query : on",
        *([] if splits else ["<bos>"]),
        "one " * 30,
    ):
        wanted, found = model.preprocess(texts, prompt=prompt), reader.preprocess(texts, prompt=prompt)
        for name in ("input_ids", "attention_mask", "pooling_mask"):
            assert found[name].tolist() == wanted[name].tolist(), (prompt, name)


def test_a_bundled_model_can_be_saved_again(bases, tmp_path):
    model = moved_model("soft_tokens(count=2)+causal", bases["llama"])
    (tmp_path / "first").mkdir()
    sentence_folder.write(model, tmp_path / "first", options={})
    SentenceTransformer(str(tmp_path / "first"), device="cpu", trust_remote_code=True).save(str(tmp_path / "second"))
    again = SentenceTransformer(str(tmp_path / "second"), device="cpu", trust_remote_code=True)
    assert differences(model, encoded(again, model)).max() < TOLERANCE


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("design", STOCK)
def test_pooling_by_hand_gives_the_same(bases, tmp_path, monkeypatch, design, family):
    model = moved_model(design, bases[family])
    merged.write(model, tmp_path, options={})
    save_texts(probe_texts(model), tmp_path / "texts.json")
    monkeypatch.setattr("sys.argv", ["run", *(str(tmp_path / name) for name in (".", "texts.json", "out.npy"))])
    run_merged.main()
    assert differences(model, np.load(tmp_path / "out.npy")).max() < TOLERANCE


def test_eager_attention_is_kept_where_a_base_needs_it(bases, tmp_path):
    model = moved_model("mean+bidirectional", bases["gemma2"])
    sentence_folder.write(model, tmp_path, options={})
    loaded = SentenceTransformer(str(tmp_path), device="cpu")
    assert differences(model, encoded(loaded, model)).max() < TOLERANCE
    settings = json.loads((tmp_path / "sentence_bert_config.json").read_text())
    assert settings["model_args"] == {"attn_implementation": "eager"}
    assert loaded[0].model.config._attn_implementation == "eager"


def test_every_pooling_is_in_this_file() -> None:
    told = {design.partition("(")[0].partition("+")[0] for design in (*STOCK, *PROJECTED, *BUNDLED)}
    assert set(POOLINGS) <= told


def test_a_base_held_in_bf16_is_merged_in_fp32(bases, tmp_path):
    model = moved_model("mean+causal", bases["llama"], precision="bf16", base_dtype="bf16")
    sentence_folder.write(model, tmp_path, options={})
    loaded = SentenceTransformer(str(tmp_path), device="cpu")
    assert differences(model, encoded(loaded, model)).max() < TOLERANCE


def test_the_bundled_file_needs_no_poolwise() -> None:
    source = Path(sentence_folder.SOURCE).read_text()
    assert "import poolwise" not in source and "from poolwise" not in source
