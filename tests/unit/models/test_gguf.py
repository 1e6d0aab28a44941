"""Bases in GGUF files: equal weights and tokens, found again, interruptions, wrong files, saved models."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from poolwise.base_sources import find
from poolwise.errors import ModelError
from poolwise.models import (
    AdaptableBase,
    base_origin,
    bases,
    build_model,
    dequantise,
    load_any,
    load_model,
    pinned_base,
)
from poolwise.storage.cache import cache_folder
from tiny_gguf import Q4_1, Q8_0, plain_model, write_gguf
from tiny_models import TEXTS, tiny_tokenizer


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    return plain_model(tmp_path_factory.mktemp("plain"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POOLWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path, plain: PreTrainedModel) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", plain)


def test_the_plain_folder_holds_the_same_model(file: Path, plain: PreTrainedModel) -> None:
    folder = bases.locate_base(str(file))
    assert folder.parent == cache_folder() and {"config.json", "tokenizer.json", "model.safetensors"} <= {
        path.name for path in folder.iterdir()
    }
    assert "quantization_config" not in (folder / "config.json").read_text()
    model, tokenizer = bases.load_causal(str(file))
    wanted = plain.state_dict()
    assert model.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())
    texts = [*TEXTS, "  Two spaces, 1234 digits\nand <eos> a line"]
    assert tokenizer(texts)["input_ids"] == tiny_tokenizer("gpt2")(texts)["input_ids"]
    ids = torch.tensor([tokenizer(TEXTS[1])["input_ids"]])
    assert torch.equal(model(ids).logits, plain.eval()(ids).logits)
    assert base_origin(str(file)) == "tiny.gguf (F32, dequantised to fp32)"
    assert base_origin("poolwise/nano") == ""


def test_a_head_tied_to_the_embeddings_stays_tied(tmp_path: Path) -> None:
    plain = plain_model(tmp_path / "plain", is_tied=True)
    file = write_gguf(tmp_path / "tied.gguf", plain)
    assert "lm_head.weight" not in load_file(bases.locate_base(str(file)) / "model.safetensors")
    model, _ = bases.load_causal(str(file))
    assert torch.equal(model.lm_head.weight, plain.model.embed_tokens.weight)


@pytest.mark.parametrize(("kind", "levels"), [(Q8_0, 2 * 127), (Q4_1, 15)])
def test_quantised_weights_are_within_half_a_step(kind, levels: int, tmp_path: Path, plain: PreTrainedModel) -> None:
    file = write_gguf(tmp_path / "small.gguf", plain, kind=kind)
    found = load_file(bases.locate_base(str(file)) / "model.safetensors")
    assert base_origin(str(file)) == f"small.gguf ({kind.name}, dequantised to fp32)"
    for name, wanted in plain.state_dict().items():
        assert found[name].dtype == torch.float32
        if wanted.dim() < 2:
            assert torch.equal(found[name], wanted)
            continue
        blocks, error = wanted.reshape(-1, 32), (found[name] - wanted).abs().reshape(-1, 32)
        # Q8_0 is symmetric about 0, Q4_1 spans minimum to maximum; scales are stored in fp16.
        width = 2 * blocks.abs().amax(1) if kind is Q8_0 else blocks.amax(1) - blocks.amin(1)
        assert (error.amax(1) <= 0.52 * width / levels + 1e-3 * blocks.abs().amax(1)).all(), name
        assert error.max() > 0


def test_found_again_under_any_name_without_reading_it(file: Path, tmp_path: Path, monkeypatch) -> None:
    folder = bases.locate_base(str(file))
    monkeypatch.setattr(dequantise, "_write", lambda *_: pytest.fail("dequantised again"))
    monkeypatch.setattr(dequantise.importlib.util, "find_spec", lambda _: None)
    (tmp_path / "other").mkdir()
    other = shutil.copy(file, tmp_path / "other" / "Renamed.GGUF")
    monkeypatch.chdir(tmp_path)
    for name in (str(other), f"{tmp_path / 'other'}:Renamed.GGUF", "other:Renamed.GGUF", "tiny.gguf"):
        assert bases.locate_base(name) == folder
        assert bases.base_fingerprint(name) == bases.base_fingerprint(str(file))
    assert base_origin("other:Renamed.GGUF") == "Renamed.GGUF (F32, dequantised to fp32)"
    assert pinned_base("other:Renamed.GGUF") == str(tmp_path / "other" / "Renamed.GGUF")


def test_files_beside_it_are_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = bases.locate_base(str(file))
    before = {path.name: path.read_bytes() for path in alone.iterdir()}
    shutil.rmtree(alone)
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "adapter_config.json"):
        (file.parent / name).write_text('{"add_prefix_space": true}')
    assert {path.name: path.read_bytes() for path in bases.locate_base(str(file)).iterdir()} == before


def test_interrupted_dequantising_leaves_nothing(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(origin: object, folder: Path) -> None:
        assert (folder / "model.safetensors").is_file()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dequantise, "save_origin", interrupt)
        bases.locate_base(str(file))
    assert list(cache.iterdir()) == []
    assert (bases.locate_base(str(file)) / "gguf.json").is_file()


def test_without_the_package_one_error_names_the_extra(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dequantise.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        ModelError, match=r"tiny\.gguf: the package gguf is not installed; pip install 'poolwise\[gguf\]'"
    ):
        bases.locate_base(str(file))


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def poke(path: Path, place: int, raw: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[place : place + len(raw)] = raw
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_text("not a model"), r"is not a GGUF file: it starts with b'not a mo'"),
        (lambda path: path.write_text(""), "is not a GGUF file: it is empty"),
        (
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"),
            "is not a GGUF file: it is a pointer of Git LFS",
        ),
        (lambda path: cut(path, 6), "is cut or damaged: its header ends early"),
        (lambda path: cut(path, 2000), "is cut or damaged: its header ends early"),
        (
            lambda path: cut(path, path.stat().st_size - 40),
            r"is cut or damaged: \S+ ends at byte [\d,]+, and the file has",
        ),
        (lambda path: poke(path, 4, b"\1\0\0\0"), "is GGUF version 1; wanted version 2 or 3"),
        (lambda path: poke(path, 4, b"\0\0\0\3"), r"is GGUF version 50331648; wanted version 2 or 3 \(little-endian\)"),
    ],
)
def test_cut_and_foreign_files(spoil, message: str, file: Path, cache: Path) -> None:
    spoil(file)
    with pytest.raises(ModelError, match=rf"tiny\.gguf {message}"):
        bases.locate_base(str(file))
    assert not cache.exists() or list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "clip"}, r"transformers cannot read it \(clip\): .*not supported"),
        ({"values": {"split.count": 3}}, "one part of a split file"),
        ({"values": {"llama.rope.scaling.type": "yarn"}}, r"positions are scaled \(rope.scaling.type yarn\)"),
        ({"extra": {"rope_freqs.weight": np.ones(4, np.float32)}}, r"positions are scaled \(rope_freqs.weight\)"),
        ({"extra": {"blk.0.attn_sinks.weight": np.ones(4, np.float32)}}, r"reads [\d,]+ of its [\d,]+ weights"),
        ({"without": ["blk.1.ffn_up.weight"]}, "1 weights are missing, the first is model.layers.1.mlp.up_proj.weight"),
    ],
)
def test_unsuitable_files_are_named_with_the_reason(changes, message: str, tmp_path: Path, plain, cache: Path) -> None:
    file = write_gguf(tmp_path / "odd.gguf", plain, **changes)
    with pytest.raises(ModelError, match=rf"cannot use \S*odd\.gguf as base: .*{message}.*; use the model's own"):
        bases.locate_base(str(file))
    assert not cache.exists() or list(cache.iterdir()) == []


@pytest.mark.parametrize(
    "changes", [{"architecture": "nomic-bert"}, {"architecture": "t5"}, {"values": {"llama.attention.causal": False}}]
)
def test_an_encoder_is_sent_to_the_entrants(changes, tmp_path: Path, plain, cache: Path, caplog) -> None:
    file = write_gguf(tmp_path / "odd.gguf", plain, **changes)
    with pytest.raises(ModelError, match=r"odd\.gguf as base: it is an encoder \(\S+\); .*under entrants"):
        bases.locate_base(str(file))
    assert not caplog.messages, "nothing is dequantised"


def test_a_file_without_eos_is_named(tmp_path: Path, plain: PreTrainedModel) -> None:
    file = write_gguf(tmp_path / "open.gguf", plain, has_eos=False)
    with pytest.raises(ModelError, match=r"the tokenizer of '\S+/open\.gguf' has no EOS token"):
        bases.locate_base(str(file))


def test_an_architecture_that_cannot_be_bidirectional_is_refused_before_its_weights(
    tmp_path, plain, monkeypatch
) -> None:
    file = write_gguf(tmp_path / "mamba.gguf", plain, architecture="mamba", values={"mamba.ssm.conv_kernel": 4})
    monkeypatch.setattr(dequantise.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(ModelError, match=r"mamba\.gguf' \(mamba\) is a hybrid"):
        bases.locate_base(str(file))


@pytest.mark.parametrize("form", ["{0}/tinny.gguf", "{0}:tinny.gguf"])
def test_a_missing_file_names_the_nearest(form: str, file: Path) -> None:
    with pytest.raises(ModelError, match=r"no GGUF file \S*tinny\.gguf.*; did you mean 'tiny\.gguf'\?"):
        bases.locate_base(form.format(file.parent))


def test_a_folder_of_gguf_files_asks_for_one(file: Path) -> None:
    shutil.copy(file, file.parent / "other.gguf")
    with pytest.raises(ModelError, match=r"has no config\.json, but other\.gguf, tiny\.gguf; .*; try \S+:other\.gguf"):
        bases.resolve_base(str(file.parent))


def test_a_folder_that_does_not_exist_names_the_forms() -> None:
    with pytest.raises(
        ModelError, match=r"no GGUF file 'no/such/folder/x.gguf'; wanted the path of a .gguf file, FOLDER:"
    ):
        bases.locate_base("no/such/folder/x.gguf")


def test_a_file_of_the_hub_is_pinned_to_its_commit(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = tmp_path / "0123abcd"
    commit.mkdir()
    shutil.copy(file, commit / "model[1].gguf")
    asked = []
    monkeypatch.setattr(find, "snapshot", lambda name, patterns: asked.append((name, patterns)) or commit)
    assert pinned_base("org/name@main:model[1].gguf") == "org/name@0123abcd:model[1].gguf"
    assert asked == [("org/name@main", ["model[[]1].gguf"])]
    assert bases.locate_base("org/name@0123abcd:model[1].gguf") == bases.locate_base(str(file))
    with pytest.raises(ModelError, match=r"org/name has no file other\.gguf, .*huggingface.co/org/name/tree/main"):
        bases.locate_base("org/name:other.gguf")


def test_without_a_network_the_hub_file_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Path:
        raise OSError("no network\nmore")

    monkeypatch.setattr(find, "snapshot", fail)
    with pytest.raises(ModelError, match=r"cannot fetch x\.gguf of org/name: no network; .*fetch the file elsewhere"):
        bases.locate_base("org/name:x.gguf")


def test_a_model_trained_on_it_loads_again(file: Path, tmp_path: Path, cache: Path, plain: PreTrainedModel) -> None:
    model = build_model("mean+causal", str(file), seed=1, precision="fp32", max_tokens=32)
    wanted = model.encode(TEXTS)
    model.save(str(tmp_path / "saved"))
    card = (tmp_path / "saved" / "README.md").read_text()
    assert card.count("- **Base:** `tiny.gguf`, from tiny.gguf (F32, dequantised to fp32): 3 layers") == 1
    assert (load_model(tmp_path / "saved", precision="fp32").encode(TEXTS) == wanted).all()
    shutil.rmtree(cache)
    assert (load_model(tmp_path / "saved", precision="fp32").encode(TEXTS) == wanted).all()
    moved = shutil.move(file, tmp_path / "moved.gguf")
    with pytest.raises(ModelError, match=r"is not here \(\S*/tiny\.gguf does not exist\); wanted tiny.gguf with"):
        load_model(tmp_path / "saved")
    assert (load_model(tmp_path / "saved", base=str(moved), precision="fp32").encode(TEXTS) == wanted).all()
    write_gguf(file, plain, kind=Q8_0)
    with pytest.raises(ModelError, match=r"it was trained on another base \(base '\S*tiny\.gguf' has fingerprint"):
        load_model(tmp_path / "saved")


def test_it_can_be_adapted(file: Path, plain: PreTrainedModel) -> None:
    options = {"seed": 0, "method": "lora", "lora_rank": 2, "lora_alpha": 4, "max_tokens": 16, "precision": "fp32"}
    adaptable = AdaptableBase(str(file), mask_token="<unk>", **options)
    assert torch.equal(adaptable.causal.lm_head.weight, plain.lm_head.weight)


def test_it_is_named_as_a_base_where_a_model_is_wanted(file: Path) -> None:
    for name in (str(file), "poolwise/smollm2"):
        with pytest.raises(ModelError, match=r"is a base, not an embedding model; .*poolwise train --base"):
            load_any(name)


def test_the_model_as_read_is_the_one_that_transformers_reads(file: Path) -> None:
    found = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    ids = torch.arange(8)[None]
    assert torch.equal(bases.load_causal(str(file))[0](ids).logits, found(ids).logits)
