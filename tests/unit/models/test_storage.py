"""The base and files of a saved model, and the errors when they are missing or changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from poolwise.design import parse_design
from poolwise.errors import ConfigError, ModelError
from poolwise.models import (
    build_model,
    design_of,
    init_hashes,
    is_poolwise_model,
    load_any,
    load_model,
    pinned_base,
    resolve_base,
    stored_settings,
)
from poolwise.models.bases import base_fingerprint, load_base
from poolwise.models.pooling import build_pooling
from poolwise.models.saved_folder import SETTINGS
from tiny_models import TEXTS, save_tiny_base


@pytest.fixture
def base(tmp_path):
    return save_tiny_base(tmp_path / "base", "llama")


@pytest.fixture
def saved(base, tmp_path):
    model = build_model("multilayer+bidirectional", base, max_tokens=32, prompts={"query": "search query : "})
    model.save(str(tmp_path / "model"))
    return tmp_path / "model"


@pytest.mark.parametrize("method", ["frozen", "full"])
def test_other_methods_load_bit_for_bit(method, base, tmp_path):
    model = build_model("latent+bidirectional", base, method=method, max_tokens=32, precision="fp32")
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.01
    model.save(str(tmp_path / "model"), create_model_card=False)
    loaded = load_model(tmp_path / "model", precision="fp32")
    assert (loaded.encode(TEXTS) == model.encode(TEXTS)).all()
    assert init_hashes(loaded) == init_hashes(model)
    assert [w.requires_grad for w in loaded.parameters()] == [w.requires_grad for w in model.parameters()]
    if method == "full":
        shutil.rmtree(base)
        assert (load_model(tmp_path / "model", precision="fp32").encode(TEXTS) == model.encode(TEXTS)).all()


def test_folder_holds_no_base_weights_and_forbids_versions_that_are_silently_causal(saved, base):
    assert is_poolwise_model(saved)
    assert not is_poolwise_model(base)
    assert not (saved / "model.safetensors").exists()
    assert (saved / "README.md").is_file()
    settings = json.loads((saved / "config_sentence_transformers.json").read_text())
    assert settings["requirements"]["transformers"]["specifier"] == ">=5.2"
    stored = json.loads((saved / "poolwise.json").read_text())
    assert (stored["design"], stored["base"]) == ("multilayer+bidirectional", "base")


def test_load_leaves_the_random_state_and_takes_other_limits(saved):
    before = torch.get_rng_state()
    model = load_model(saved, max_tokens=16)
    assert torch.equal(before, torch.get_rng_state())
    assert model.max_seq_length == 16
    assert model.prompts["query"] == "search query : "


def test_loads_through_sentence_transformers_as_well(saved):
    model = SentenceTransformer(str(saved), trust_remote_code=True)
    assert str(design_of(model)) == "multilayer+bidirectional"
    assert abs(model.encode(TEXTS) - load_model(saved).encode(TEXTS)).max() < 1e-5


@pytest.mark.parametrize("options", [{"backend": "onnx"}, {"model_kwargs": {"dtype": "bfloat16"}}])
def test_options_that_mean_nothing_fail(options, saved):
    with pytest.raises(ConfigError, match=r"backend='onnx'|model_kwargs: not supported"):
        SentenceTransformer(str(saved), trust_remote_code=True, **options)


def test_loads_from_the_folder_of_a_run_and_on_a_moved_base(saved, base, tmp_path):
    wanted = load_model(saved).encode(TEXTS)
    run = tmp_path / "run"
    shutil.copytree(saved, run / "model")
    assert (load_model(run).encode(TEXTS) == wanted).all()
    moved = tmp_path / "moved"
    shutil.move(base, moved)
    with pytest.raises(ModelError, match=r"is not here \(.*base does not exist"):
        load_model(run)
    assert (load_model(run, base=str(moved)).encode(TEXTS) == wanted).all()
    with pytest.raises(ModelError, match=r"trained on another base .*say where it is: .*base="):
        load_model(run, base="poolwise/nano")


def test_first_dimensions_only(saved):
    model = load_model(saved, truncate_dim=8, device="cpu")
    assert model.encode(TEXTS).shape == (len(TEXTS), 8) and model.get_embedding_dimension() == 8
    for wrong in (0, 33):
        with pytest.raises(ConfigError, match=rf"truncate_dim is {wrong}; wanted 1 to 32"):
            load_model(saved, truncate_dim=wrong)


@pytest.mark.parametrize("pooling", ["mean(dim=12)", "pma(dim=12)"])
def test_a_design_of_another_width_loads_with_its_width(pooling, base, tmp_path):
    model = build_model(f"{pooling}+causal", base, method="frozen", max_tokens=32, precision="fp32")
    assert model.get_embedding_dimension() == 12
    model.save(str(tmp_path / "model"))
    loaded = load_model(tmp_path / "model", precision="fp32")
    assert (loaded.encode(TEXTS) == model.encode(TEXTS)).all() and loaded.get_embedding_dimension() == 12
    assert load_model(tmp_path / "model", truncate_dim=12).encode(TEXTS).shape == (len(TEXTS), 12)
    with pytest.raises(ConfigError, match="truncate_dim is 13; wanted 1 to 12"):
        load_model(tmp_path / "model", truncate_dim=13)


@pytest.mark.parametrize("device", ["cuda:7", "nonsense", "meta"])
def test_a_device_that_is_not_there_is_named_before_anything_loads(device, saved, monkeypatch):
    monkeypatch.setattr("poolwise.models.backbone.load_base", lambda *_: pytest.fail("a base was loaded"))
    with pytest.raises(ConfigError, match=f"'{device}'.*wanted"):
        load_model(saved, device=device)


def test_what_holds_no_model_says_what_it_is(tmp_path):
    run, study = tmp_path / "run", tmp_path / "study"
    run.mkdir()
    (run / "training.jsonl").write_text("")
    study.mkdir()
    (study / "plan.json").write_text("{}")
    with pytest.raises(ModelError, match=r"training is not finished.*resumes from the last checkpoint"):
        load_model(run)
    with pytest.raises(ModelError, match=r"is a study; wanted one of its runs"):
        load_model(study)
    with pytest.raises(ModelError, match="no model 'nowhere'"):
        load_model("nowhere")
    for load in (load_any, load_model):
        with pytest.raises(ModelError, match="training is not finished"):
            load(str(run))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub cache with two commits of one base; ``main`` is the first."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "cache" / "models--org--tiny"
    for commit, family in (("1" * 40, "llama"), ("2" * 40, "qwen3")):
        save_tiny_base(repository / "snapshots" / commit, family)
    (repository / "refs").mkdir()

    def set_main(commit):
        (repository / "refs" / "main").write_text(commit * 40)

    set_main("1")
    return set_main


def test_a_base_of_the_hub_is_pinned_to_its_commit(hub, tmp_path):
    model = build_model("last+causal", "org/tiny", max_tokens=32)
    assert model[0].base == f"org/tiny@{'1' * 40}" == pinned_base("org/tiny")
    wanted = model.encode(TEXTS)
    model.save(str(tmp_path / "model"))
    hub("2")  # the author pushes another model under the same name
    assert pinned_base("org/tiny").endswith("2" * 40)
    assert (load_model(tmp_path / "model").encode(TEXTS) == wanted).all()
    assert build_model("last+causal", "org/tiny", max_tokens=32)[0].base.endswith("2" * 40)
    assert (build_model("last+causal", "org/tiny@" + "1" * 40, max_tokens=32).encode(TEXTS) == wanted).all()
    with pytest.raises(ModelError, match="cannot read base 'org/tiny@nowhere'"):
        build_model("last+causal", "org/tiny@nowhere")


def test_a_commit_whose_files_changed_is_refused(hub, tmp_path):
    build_model("last+causal", "org/tiny", max_tokens=32).save(str(tmp_path / "model"))
    shutil.rmtree(tmp_path / "cache/models--org--tiny/snapshots" / ("1" * 40))
    save_tiny_base(tmp_path / "cache/models--org--tiny/snapshots" / ("1" * 40), "qwen3")
    with pytest.raises(ModelError, match="trained on another base"):
        load_model(tmp_path / "model")


def test_a_model_of_the_hub(hub, tmp_path):
    model = build_model("multilayer+causal", "org/tiny", max_tokens=32)
    folder = tmp_path / "cache/models--me--mine/snapshots" / ("3" * 40)
    folder.parent.mkdir(parents=True)
    model.save(str(folder))
    (tmp_path / "cache/models--me--mine/refs").mkdir()
    (tmp_path / "cache/models--me--mine/refs/main").write_text("3" * 40)
    assert (load_model("me/mine").encode(TEXTS) == model.encode(TEXTS)).all()
    with pytest.raises(ModelError, match="no model 'me/other'"):
        load_model("me/other")


def test_a_base_given_by_a_relative_path_is_found_from_anywhere(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_model("last+causal", "base", max_tokens=32).save("model")
    monkeypatch.chdir(tmp_path.parent)
    load_model(tmp_path / "model")


def test_adapter_is_one_that_peft_reads(saved, base):
    ours = load_model(saved)[0].model
    peft = PeftModel.from_pretrained(AutoModel.from_pretrained(base), saved)
    theirs = {name.removeprefix("base_model.model."): w for name, w in peft.named_parameters() if "lora_" in name}
    mine = {name: w for name, w in ours.named_parameters() if "lora_" in name}
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_changed_or_missing_base_is_an_error(saved, base, tmp_path):
    tokenizer = tmp_path / "base" / "tokenizer_config.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    with pytest.raises(ModelError, match=r"it was trained on another base .*has fingerprint .*; wanted base with fing"):
        load_model(saved)
    shutil.rmtree(base)
    with pytest.raises(ModelError, match=r"base does not exist.*; wanted base with fingerprint"):
        load_model(saved)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("poolwise.json", None, r"has no poolwise\.json"),
        ("poolwise.json", b"{", r"cannot read .*poolwise\.json"),
        ("poolwise.json", b'{"design": "last+causal"}', "lacks base, base_fingerprint, eos_id"),
        ("config_sentence_transformers.json", b"[1]", r"cannot read .*config_sentence_transformers\.json"),
        ("adapter_model.safetensors", None, "adapter_model.safetensors is missing; wanted the weights as they were"),
        ("adapter_model.safetensors", b"xx", "has 2 bytes instead of"),
        ("1_MultilayerPooling/model.safetensors", None, "model.safetensors is missing"),
        ("1_MultilayerPooling/config.json", b'{"dim": 32}', "cannot read the pooling"),
    ],
)
def test_missing_or_spoiled_file_is_one_clear_error(name, spoil, message, saved):
    path = saved / name
    path.unlink() if spoil is None else path.write_bytes(spoil)
    with pytest.raises(ModelError, match=message):
        load_model(saved)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "1_MultilayerPooling/model.safetensors"])
def test_changed_weights_are_not_loaded(saved, name):
    path = saved / name
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ModelError, match=r"has other contents than when it was written; .* delete .*checksums.json"):
        load_model(saved)
    (saved / "checksums.json").unlink()
    load_model(saved)
    (saved / "checksums.json").write_text("[]")
    with pytest.raises(ModelError, match=r"cannot read .*checksums\.json"):
        load_model(saved)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("adapter_model.safetensors", None, "cannot read the adapter"),
        ("adapter_model.safetensors", b"xx", "cannot read the adapter"),
        ("1_MultilayerPooling/model.safetensors", None, "cannot read the pooling"),
    ],
)
def test_damage_of_a_model_without_checksums_is_one_clear_error(name, spoil, message, saved):
    (saved / "checksums.json").unlink()
    test_missing_or_spoiled_file_is_one_clear_error(name, spoil, message, saved)


_PIECES = [{"SpecialToken": {"id": "unknown", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
UNKNOWN_START = {"type": "TemplateProcessing", "single": _PIECES, "pair": _PIECES, "special_tokens": {}}


def set_key(path, key, value):
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("poolwise.json", "base", 3, r"poolwise\.json holds another kind of value: base: .*; save the model again"),
        ("poolwise.json", "design", ["last+causal"], r"holds another kind of value: design: "),
        ("poolwise.json", "max_tokens", {"a": 1}, r"holds another kind of value: max_tokens: "),
        ("poolwise.json", "method", "magic", r"holds another kind of value: method: .*'lora', 'frozen' or 'full'"),
        ("poolwise.json", "split_special_tokens", "yes", r"holds another kind of value: split_special_tokens: "),
        ("poolwise.json", "ending", [10**9], r"end every text hold 1000000000; wanted ids from 0 to "),
        (SETTINGS, "prompts", ["q"], r"prompts in .* is a list; wanted texts by name"),
        (SETTINGS, "prompts", {"query": 1.5}, r"the prompt 'query' in .* is a float; wanted texts by name"),
        (SETTINGS, "default_prompt_name", "x", r"is 'x'; wanted document or query"),
        (SETTINGS, "default_prompt_name", {}, r"is \{\}; wanted document or query"),
        # PEFT raises AttributeError for all of these but the last two: ModuleNotFoundError, and nothing until encode.
        ("adapter_config.json", "target_modules", [1.5], "cannot read the adapter in .*save the model again"),
        ("adapter_config.json", "alpha_pattern", [], "cannot read the adapter in .*'list' object has no"),
        ("adapter_config.json", "init_lora_weights", 3, "cannot read the adapter in .*'int' object has no"),
        ("adapter_config.json", "megatron_config", {"a": 1}, "cannot read the adapter in .*megatron"),
        ("adapter_config.json", "alora_invocation_tokens", [1], "has alora_invocation_tokens; wanted LoRA that acts"),
    ],
)
def test_a_value_of_another_kind_is_one_clear_error(name, key, value, message, saved):
    set_key(saved / name, key, value)
    with pytest.raises(ModelError, match=message):
        load_model(saved)


def test_a_prompt_without_a_text_is_empty(saved):
    set_key(saved / SETTINGS, "prompts", {"query": None})
    assert load_model(saved).prompts["query"] == stored_settings(str(saved), saved)["prompts"]["query"] == ""


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("tokenizer_config.json", "model_max_length", "x"),
        ("tokenizer_config.json", "unk_token", ""),  # endless recursion in transformers
        ("tokenizer.json", "post_processor", UNKNOWN_START),  # a panic in tokenizers, which is no Exception
    ],
)
def test_a_tokenizer_that_fails_at_its_first_text_is_one_clear_error(name, key, value, base):
    set_key(Path(base) / name, key, value)
    with pytest.raises(ModelError, match=r"cannot read a text with the tokenizer of .*wanted a tokenizer that reads"):
        resolve_base(base)


def test_a_base_that_reads_no_texts_or_never_ends_is_one_clear_error(base):
    config = Path(base) / "config.json"
    set_key(config, "num_hidden_layers", 10**30)
    with pytest.raises(ModelError, match=r"has 10{30} layers; wanted"):
        resolve_base(base)
    config.write_text('{"model_type": "vit"}')
    with pytest.raises(ModelError, match=r"\(vit\) reads no texts: its configuration has no vocab_size; wanted"):
        resolve_base(base)


@pytest.mark.parametrize("file", ["../other/model.safetensors", "/etc/model.safetensors", "sub/model.safetensors"])
def test_weights_in_another_folder_are_refused(base, file):
    """A fingerprint of the folder would not see them change."""
    (Path(base) / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"embed": file}}))
    for read in (base_fingerprint, load_base):
        with pytest.raises(ModelError, match=r"names weights in .*; wanted files beside it"):
            read(base)


def test_a_model_of_others_that_fails_in_any_way_is_one_clear_error(base, tmp_path):
    (tmp_path / "base" / "modules.json").write_text("[3]")
    with pytest.raises(ModelError, match=r"cannot load .* as an embedding model: .*wanted a folder with modules\.json"):
        load_any(base)


def test_adapter_of_another_base_is_an_error(saved, tmp_path):
    other = build_model("last+causal", save_tiny_base(tmp_path / "gpt2", "gpt2"), max_tokens=32)
    other.save(str(tmp_path / "other"), create_model_card=False)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copy(tmp_path / "other" / name, saved / name)
    with pytest.raises(ModelError, match="adapter"):
        load_model(saved)


def test_names_of_bases(base, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve_base(base) == base
    assert resolve_base("poolwise/nano").endswith("embedded/nano")
    for missing in ("./nowhere", "/no/such/folder", "a/b/c"):
        with pytest.raises(ModelError, match="is not a folder"):
            resolve_base(missing)
    with pytest.raises(ModelError, match=r"cannot read base 'nobody/nothing'.*without a network"):
        resolve_base("nobody/nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="cannot read base"):
        resolve_base(str(tmp_path / "empty"))


def test_spoiled_or_incomplete_weights_are_an_error(base, tmp_path):
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError, match="cannot read base"):
        build_model("last+causal", base, max_tokens=32)


def test_foreign_model_has_no_design():
    with pytest.raises(ModelError, match="starts with Identity"):
        design_of(SentenceTransformer(modules=[torch.nn.Identity()]))


@pytest.mark.parametrize("design", ["layer_mean+causal", "layer_mix+causal", "multilayer+causal"])
def test_a_pooling_saved_before_there_were_subsets_reads_all_layers(design, tmp_path):
    pooling = build_pooling(parse_design(design), 16, 3)
    pooling.save(str(tmp_path))
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    assert config.pop("subset") == "all"
    path.write_text(json.dumps(config))
    loaded = type(pooling).load(str(tmp_path))
    features = {"layer_embeddings": torch.randn(2, 3, 16), "attention_mask": torch.ones(2, 1)}
    assert torch.equal(*(x(features)["sentence_embedding"] for x in (pooling, loaded)))
