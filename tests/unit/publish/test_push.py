"""Pushing a model to a hub and loading it back by its name, against a hub on this machine."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer

from fake_hub import Hub, running_hub, use_hub
from poolwise.cards.licences import front_matter
from poolwise.errors import ConfigError, ModelError, PoolwiseError
from poolwise.models import build_model, load_any, load_model
from poolwise.publish import build_bundle, push_bundle
from tiny_models import TEXTS, save_tiny_base


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as found:
        use_hub(found, tmp_path, monkeypatch)
        yield found


@pytest.fixture
def base(tmp_path: Path) -> str:
    name = save_tiny_base(tmp_path / "tiny-base", "llama")
    (tmp_path / "tiny-base" / "README.md").write_text("---\nlicense: mit\n---\n# tiny\n")
    return name


def saved(folder: Path, base: str, design: str = "multilayer+bidirectional", method: str = "lora", by: float = 0.01):
    model = build_model(design, base, method=method, max_tokens=32, precision="fp32", prompts={"query": "search : "})
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += by
    model.save(str(folder))
    return model


@pytest.mark.parametrize("method", ["lora", "frozen", "full"])
def test_a_pushed_model_loads_by_its_name_with_the_same_embeddings(
    method: str, hub: Hub, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tmp_path / "model", base, method=method)
    wanted = model.encode(TEXTS)
    pushed = push_bundle(build_bundle(tmp_path / "model", "alice/mine", include_base=True))
    assert pushed.is_new and pushed.url == f"{hub.url}/alice/mine/tree/{pushed.commit}"
    shutil.rmtree(tmp_path / "model")
    shutil.rmtree(base)
    loaded = load_model("alice/mine", precision="fp32")
    assert (loaded.encode(TEXTS) == wanted).all()
    assert loaded.prompts["query"] == "search : "
    assert (load_model(f"alice/mine@{pushed.commit}", precision="fp32").encode(TEXTS) == wanted).all()
    assert np.allclose(load_any("alice/mine", "fp32").encode(TEXTS), wanted, atol=1e-5)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # and later without a network
    assert (load_model("alice/mine", precision="fp32").encode(TEXTS) == wanted).all()


def test_only_what_loading_needs_is_fetched(hub: Hub, base: str, tmp_path: Path) -> None:
    saved(tmp_path / "model", base)
    push_bundle(build_bundle(tmp_path / "model", "alice/mine", include_base=True))
    files = hub.files("alice/mine")
    more = {"onnx/model.safetensors": b"x" * 9, "model.safetensors": b"x", "modeling_own.py": b"raise SystemExit"}
    hub.repositories["alice/mine"].add("main", files | more)
    hub.requests.clear()
    load_model("alice/mine", base=base)
    assert hub.downloads() == {
        *("poolwise.json", "modules.json", "config_sentence_transformers.json", "card.yaml"),
        *("adapter_config.json", "adapter_model.safetensors"),
        *("1_MultilayerPooling/config.json", "1_MultilayerPooling/model.safetensors"),
    }
    hub.requests.clear()
    load_model("alice/mine")
    assert {path.partition("/")[0] for path in hub.downloads()} == {"base"}


def test_sentence_transformers_loads_it_from_the_hub_with_the_flag(hub: Hub, base: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "model", base)
    push_bundle(build_bundle(tmp_path / "model", "alice/mine", include_base=True))
    loaded = SentenceTransformer("alice/mine", trust_remote_code=True, device="cpu")
    loaded[0].precision = loaded[1].precision = "fp32"
    assert np.allclose(loaded.encode(TEXTS), model.encode(TEXTS), atol=1e-5)


def test_their_own_push_sends_no_path_of_this_machine_either(hub: Hub, base: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "model", base)
    model.push_to_hub("alice/mine")
    sent = hub.files("alice/mine")
    assert not [name for name, raw in sent.items() if str(tmp_path).encode() in raw]
    assert b'poolwise.load_model("alice/mine")' in sent["README.md"]
    assert (load_model("alice/mine", base=base, precision="fp32").encode(TEXTS) == model.encode(TEXTS)).all()


def test_a_base_of_the_hub_is_fetched_by_its_commit(hub: Hub, tmp_path: Path) -> None:
    folder = Path(save_tiny_base(tmp_path / "source", "llama"))
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    card = b"---\nlicense: mit\n---\n"
    commit = hub.create("org/tiny", "org").add("main", content | {"README.md": card})
    model = saved(tmp_path / "model", "org/tiny")
    config = json.loads((tmp_path / "model" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/tiny", commit)
    bundle = build_bundle(tmp_path / "model", "alice/mine")
    assert bundle.notes == () and not any(name.startswith("base/") for name in bundle.files)
    head = front_matter(bundle.card)
    assert (head["base_model"], head["base_model_relation"], head["license"]) == ("org/tiny", "adapter", "mit")
    push_bundle(bundle)
    hub.repositories["org/tiny"].add("main", {"config.json": b"{}"})  # its author goes on
    shutil.rmtree(tmp_path / "hub-cache")
    assert (load_model("alice/mine", precision="fp32").encode(TEXTS) == model.encode(TEXTS)).all()


def test_nothing_of_this_machine_is_sent(hub: Hub, base: str, tmp_path: Path) -> None:
    saved(tmp_path / "model", base)
    (tmp_path / "model" / "items").mkdir()
    (tmp_path / "model" / "items" / "scores.json").write_text("{}")
    (tmp_path / "model" / "run.json").write_text("{}")
    bundle = build_bundle(tmp_path / "model", "alice/mine")
    assert "a folder or file of this machine" in bundle.notes[0] and "--include-base" in bundle.notes[0]
    assert not {"run.json", "items/scores.json"} & bundle.files.keys()
    push_bundle(bundle)
    assert not [name for name, raw in hub.files("alice/mine").items() if str(tmp_path).encode() in raw]
    with pytest.raises(ModelError, match=r"the base of .* is not here \(it was saved without it\); wanted tiny-base"):
        load_model("alice/mine")
    assert load_model("alice/mine", base=base).encode("a dog").shape == (32,)


def test_the_card_is_written_for_the_new_name(hub: Hub, base: str, tmp_path: Path) -> None:
    saved(tmp_path / "model", base)
    plain = build_bundle(tmp_path / "model", "alice/mine")
    assert 'poolwise.load_model("alice/mine")' in plain.card and "give its folder or file" in plain.card
    whole = build_bundle(tmp_path / "model", "alice/mine", include_base=True)
    assert "included in this model" in whole.card and "give its folder or file" not in whole.card
    assert front_matter(whole.card)["license"] == "mit"
    assert 'load_model("model")' in (tmp_path / "model" / "README.md").read_text()  # the folder is as it was


def test_a_card_that_was_edited_is_sent_as_it_is(hub: Hub, base: str, tmp_path: Path) -> None:
    saved(tmp_path / "model", base)
    card = tmp_path / "model" / "README.md"
    card.write_text(card.read_text() + "\nMy own words.\n")
    assert build_bundle(tmp_path / "model", "alice/mine").card.endswith("\nMy own words.\n")


def test_a_licence_can_be_filled_in(hub: Hub, base: str, tmp_path: Path) -> None:
    saved(tmp_path / "model", base)
    path = tmp_path / "model" / "card.yaml"
    facts = yaml.safe_load(path.read_text())
    facts["model"]["base"]["licence"] = "My Terms 2"
    path.write_text(yaml.safe_dump(facts))
    bundle = build_bundle(tmp_path / "model", "alice/mine")
    head = front_matter(bundle.card)
    assert (head["license"], head["license_name"]) == ("other", "my-terms-2")
    push_bundle(bundle)  # the hub accepts it


def test_the_same_model_is_updated_and_another_is_not_sent_over_it(hub: Hub, base: str, tmp_path: Path) -> None:
    saved(tmp_path / "model", base)
    first = push_bundle(build_bundle(tmp_path / "model", "alice/mine"))
    hub.repositories["alice/mine"].add("main", hub.files("alice/mine") | {"onnx/model.safetensors": b"exported"})
    again = push_bundle(build_bundle(tmp_path / "model", "alice/mine", include_base=True))
    assert not again.is_new and again.commit != first.commit
    assert "base/config.json" in hub.files("alice/mine")
    saved(tmp_path / "other", base, by=0.02)
    saved(tmp_path / "mean", base, design="mean+causal", method="frozen")
    before = hub.files("alice/mine")
    for folder, words in (("other", "another training of multilayer"), ("mean", "another poolwise model")):
        bundle = build_bundle(tmp_path / folder, "alice/mine")
        with pytest.raises(ConfigError, match=rf"alice/mine holds {words}.*--replace"):
            push_bundle(bundle)
    assert hub.files("alice/mine") == before
    push_bundle(build_bundle(tmp_path / "mean", "alice/mine"), replaces=True)
    after = hub.files("alice/mine")
    assert {name.partition("/")[0] for name in after} == {
        *("1_MeanPooling", "README.md", "card.yaml", "config_sentence_transformers.json", ".gitattributes"),
        *("modules.json", "poolwise.json", "2_Normalize", "onnx"),
    } - ({"2_Normalize"} if not any(name.startswith("2_") for name in after) else set())
    assert hub.files("alice/mine", again.commit) == before  # the history keeps it


def test_a_model_not_made_by_poolwise_is_not_sent_over(hub: Hub, base: str, tmp_path: Path) -> None:
    hub.create("alice/theirs", "alice").add("main", {"config.json": b"{}", "model.safetensors": b"x", "README.md": b""})
    hub.create("alice/gguf", "alice").add("main", {"weights.gguf": b"x"})
    hub.create("alice/empty", "alice").add("main", {"README.md": b"soon", ".gitattributes": b""})
    saved(tmp_path / "model", base)
    with pytest.raises(ConfigError, match=r"holds another model, not made by poolwise \(config.json, model.safetens"):
        push_bundle(build_bundle(tmp_path / "model", "alice/theirs"))
    with pytest.raises(ConfigError, match=r"holds another model, not made by poolwise \(weights.gguf\)"):
        push_bundle(build_bundle(tmp_path / "model", "alice/gguf"))
    assert not push_bundle(build_bundle(tmp_path / "model", "alice/empty")).is_new


def test_a_branch(hub: Hub, base: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "model", base)
    push_bundle(build_bundle(tmp_path / "model", "alice/mine"))
    saved(tmp_path / "other", base, by=0.02)
    pushed = push_bundle(build_bundle(tmp_path / "other", "alice/mine"), branch="second")
    found = load_model("alice/mine@second", base=base, precision="fp32").encode(TEXTS)
    assert pushed.commit == hub.repositories["alice/mine"].branches["second"]
    with pytest.raises(ConfigError, match="another training of multilayer"):  # on the branch, as on main
        push_bundle(build_bundle(tmp_path / "model", "alice/mine"), branch="second")
    push_bundle(build_bundle(tmp_path / "other", "alice/mine"), branch="second")
    assert not np.allclose(found, model.encode(TEXTS), atol=1e-4)
    assert (load_model("alice/mine", base=base, precision="fp32").encode(TEXTS) == model.encode(TEXTS)).all()


def test_a_private_repository(hub: Hub, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "model", base)
    bundle = build_bundle(tmp_path / "model", "alice/secret")
    push_bundle(bundle, private=True)
    assert hub.repositories["alice/secret"].is_private
    push_bundle(bundle, private=True)
    push_bundle(build_bundle(tmp_path / "model", "alice/open"))
    with pytest.raises(ConfigError, match="alice/open is public already"):
        push_bundle(build_bundle(tmp_path / "model", "alice/open"), private=True)
    load_model("alice/secret", base=base)
    monkeypatch.setenv("HF_TOKEN", "hf_bob")
    shutil.rmtree(tmp_path / "hub-cache")
    with pytest.raises(ModelError, match=r"no model 'alice/secret'.*it is private and the token may not read it"):
        load_model("alice/secret", base=base)


def refuse(bundle: object, match: str, kind: type[PoolwiseError] = ModelError) -> None:
    with pytest.raises(kind, match=match) as caught:
        push_bundle(bundle)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1


def test_each_obstacle_is_one_error(hub: Hub, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "model", base)
    bundle = build_bundle(tmp_path / "model", "alice/mine")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refuse(bundle, r"cannot sign in at http://127.*: the token is not valid")
    with pytest.raises(ModelError, match=r"no model 'alice/mine'.*the token is not valid"):
        load_model("alice/mine")
    monkeypatch.delenv("HF_TOKEN")
    refuse(bundle, r"no token for http://127.*HF_TOKEN.*/settings/tokens")
    monkeypatch.setenv("HF_TOKEN", "hf_bob")
    refuse(bundle, "bob cannot create alice/mine: the token may not do this")
    hub.create("alice/mine", "alice")
    refuse(bundle, "bob cannot write to alice/mine: the token may not do this.*nothing was committed")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuse(bundle, "HF_HUB_OFFLINE is set, so nothing is sent")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    refuse(bundle, r"http://127.0.0.1:9 cannot be reached.*check the network and HF_ENDPOINT")


@pytest.mark.parametrize("place", ["/lfs/", "/commit/", "/preupload/", "whoami"])
def test_a_hub_that_fails_midway_has_no_half_model(place: str, hub: Hub, base: str, tmp_path: Path) -> None:
    saved(tmp_path / "model", base)
    bundle = build_bundle(tmp_path / "model", "alice/mine")
    hub.broken = place
    refuse(bundle, "answers 507|cannot write to alice/mine")
    assert set(hub.repositories) == set() or set(hub.files("alice/mine")) == {".gitattributes"}
    hub.broken = ""
    push_bundle(bundle)
    load_model("alice/mine", base=base)


@pytest.mark.parametrize("name", ["mine", "alice/mine@main", "a/b/c", "alice/", "/alice/mine"])
def test_a_repository_needs_a_full_name(name: str, base: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the name of a repository; wanted org/name"):
        build_bundle(tmp_path, name)


def test_what_is_no_model_is_not_sent(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no poolwise\.json \(looked for poolwise\.json and model/poolwise\.json"):
        build_bundle(tmp_path, "alice/mine")
    (tmp_path / "training.jsonl").write_text("")
    with pytest.raises(ModelError, match="training is not finished"):
        build_bundle(tmp_path, "alice/mine")


def test_names_that_the_hub_does_not_have(hub: Hub) -> None:
    hub.create("org/plain", "org").add("main", {"config.json": b"{}"})
    with pytest.raises(ModelError, match=r"no model 'org/none': there is no such folder, and on the hub: there is no"):
        load_model("org/none")
    with pytest.raises(ModelError, match=r"org/plain of the hub has no poolwise\.json"):
        load_model("org/plain")
    with pytest.raises(ModelError, match=r"no model 'org/plain@v9'.*there is no such commit, tag or branch"):
        load_model("org/plain@v9")


OWN_CODE = b"raise SystemExit('this code must not run')\n"
MODULES = json.dumps([{"idx": 0, "name": "0", "path": "", "type": "modeling_own.Own"}]).encode()
MAPPED = json.dumps({"model_type": "own-thing", "auto_map": {"AutoModel": "modeling_own.OwnModel"}}).encode()
KNOWN = json.dumps({"model_type": "llama", "auto_map": {"AutoModel": "modeling_own.OwnModel"}}).encode()


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"modules.json": MODULES}, r"modules\.json names the module modeling_own\.Own"),
        ({"config.json": MAPPED}, r"auto_map of config\.json names modeling_own\.OwnModel"),
    ],
)
@pytest.mark.parametrize("place", ["folder", "hub"])
def test_code_that_comes_with_a_model_is_named_and_not_run(
    place: str, files: dict[str, bytes], told: str, hub: Hub, tmp_path: Path
) -> None:
    content = files | {"modeling_own.py": OWN_CODE}
    told = told if place == "folder" else told.replace(r" in its file modeling_own\.py", "")  # it is not fetched
    name = "org/own"
    if place == "hub":
        hub.create(name, "org").add("main", content)
    else:
        name = str(tmp_path / "own")
        (tmp_path / "own").mkdir()
        for file, raw in content.items():
            (tmp_path / "own" / file).write_bytes(raw)
    with pytest.raises(ModelError, match=rf"would run code that comes with it: {told}.*trust_remote_code=True"):
        load_any(name)
    assert "modeling_own.py" not in hub.downloads()


def test_a_class_of_the_library_in_place_of_their_code_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(save_tiny_base(tmp_path / "own", "llama"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | json.loads(KNOWN)))
    (folder / "modeling_own.py").write_bytes(OWN_CODE)
    with caplog.at_level(logging.WARNING, logger="poolwise"):
        load_any(str(folder))
    assert "comes with code of its own, which is not run: auto_map of config.json names modeling_own" in caplog.text
