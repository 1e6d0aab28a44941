"""A saved model on another machine: how its base is named, found, included; and that it is written whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer

from poolwise.errors import ConfigError, ModelError
from poolwise.models import build_model, load_model
from poolwise.models.saved_folder import is_model_part
from poolwise.storage.whole_files import held_from_beside
from tiny_gguf import plain_model, write_gguf
from tiny_models import TEXTS, save_tiny_base


@pytest.fixture
def base(tmp_path: Path) -> str:
    return save_tiny_base(tmp_path / "here" / "tiny-base", "llama")


def stored(folder: Path) -> dict[str, object]:
    return json.loads((folder / "poolwise.json").read_text())


def build(base: str, design: str = "multilayer+bidirectional", method: str = "lora"):
    model = build_model(design, base, method=method, max_tokens=32, precision="fp32", prompts={"query": "search : "})
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.01
    return model


def test_the_base_is_named_without_its_path(base: str, tmp_path: Path) -> None:
    build(base).save(str(tmp_path / "here" / "model"))
    found = stored(tmp_path / "here" / "model")
    assert found["base"] == "tiny-base" and len(str(found["base_fingerprint"])) == 16
    assert found["base_places"] == ["../tiny-base", base]
    adapter = json.loads((tmp_path / "here" / "model" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "tiny-base"


def test_model_and_base_move_together(base: str, tmp_path: Path) -> None:
    model = build(base)
    model.save(str(tmp_path / "here" / "model"))
    shutil.move(tmp_path / "here", tmp_path / "there")
    loaded = load_model(tmp_path / "there" / "model", precision="fp32")
    assert (loaded.encode(TEXTS) == model.encode(TEXTS)).all()
    # Saved again it names the base as before, not by the place where it was found.
    loaded.save(str(tmp_path / "again"))
    assert stored(tmp_path / "again")["base"] == "tiny-base"


@pytest.mark.parametrize("method", ["lora", "frozen"])
def test_with_its_base_a_zipped_model_loads_anywhere(method: str, base: str, tmp_path: Path) -> None:
    model = build(base, method=method)
    wanted = model.encode(TEXTS)
    model.save_pretrained(str(tmp_path / "here" / "model"), base="include")
    found = stored(tmp_path / "here" / "model")
    assert found["base_included"] is True and "base_places" not in found
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "here" / "model")
    shutil.rmtree(tmp_path / "here")
    with zipfile.ZipFile(packed) as file:
        file.extractall(tmp_path / "far")
    loaded = load_model(tmp_path / "far", precision="fp32")
    assert (loaded.encode(TEXTS) == wanted).all()
    # Its base stays with it when it is saved over itself, and goes along when asked for.
    loaded.save(str(tmp_path / "far"))
    assert (load_model(tmp_path / "far", precision="fp32").encode(TEXTS) == wanted).all()
    loaded.save(str(tmp_path / "copy"), base="include")
    shutil.rmtree(tmp_path / "far")
    assert (load_model(tmp_path / "copy", precision="fp32").encode(TEXTS) == wanted).all()


def test_a_fully_trained_model_needs_no_base(base: str, tmp_path: Path) -> None:
    model = build(base, method="full")
    model.save(str(tmp_path / "model"), base="include")
    assert not (tmp_path / "model" / "base").exists() and stored(tmp_path / "model")["base"] == "tiny-base"
    shutil.rmtree(base)
    assert (load_model(tmp_path / "model", precision="fp32").encode(TEXTS) == model.encode(TEXTS)).all()


def test_a_gguf_base_goes_along_as_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLWISE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bases").mkdir()
    file = tmp_path / "bases" / "tiny.gguf"
    write_gguf(file, plain_model(tmp_path / "plain"))
    model = build_model("mean+causal", str(file), max_tokens=32, precision="fp32")
    model.save(str(tmp_path / "model"), base="include")
    assert stored(tmp_path / "model")["base_included"] == "tiny.gguf"
    assert sorted(path.name for path in (tmp_path / "model" / "base").iterdir()) == ["tiny.gguf"]
    shutil.rmtree(tmp_path / "bases")
    shutil.rmtree(tmp_path / "cache")
    assert (load_model(tmp_path / "model", precision="fp32").encode(TEXTS) == model.encode(TEXTS)).all()


def test_a_missing_base_is_one_error_that_says_what_to_try(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(base).save(str(tmp_path / "here" / "model"))
    shutil.move(tmp_path / "here" / "model", tmp_path / "model")
    shutil.move(base, tmp_path / "elsewhere")
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "model")
    text = str(caught.value)
    fingerprint = stored(tmp_path / "model")["base_fingerprint"]
    assert f"{base} does not exist" in text and f"wanted tiny-base with fingerprint {fingerprint}" in text
    assert "load_model(path, base=...)" in text and 'model.save(path, base="include")' in text
    monkeypatch.chdir(tmp_path)
    loaded = load_model(tmp_path / "model", base="elsewhere")
    monkeypatch.chdir("/")
    loaded.save(str(tmp_path / "model"))
    load_model(tmp_path / "model")  # every later load finds it


def test_another_base_in_its_place_is_refused(base: str, tmp_path: Path) -> None:
    build(base).save(str(tmp_path / "here" / "model"))
    shutil.rmtree(base)
    save_tiny_base(Path(base), "qwen3")
    with pytest.raises(ModelError, match=r"differs: it was trained on another base .*tiny-base' has fingerprint"):
        load_model(tmp_path / "here" / "model")


def test_an_included_base_that_was_changed_is_refused(base: str, tmp_path: Path) -> None:
    build(base).save(str(tmp_path / "model"), base="include")
    config = tmp_path / "model" / "base" / "config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(ModelError, match="differs: it was trained on another base"):
        load_model(tmp_path / "model")


def test_a_base_that_is_named_by_a_path_outside_the_model_is_not_followed(base: str, tmp_path: Path) -> None:
    build(base).save(str(tmp_path / "model"), base="include")
    found = stored(tmp_path / "model")
    (tmp_path / "model" / "poolwise.json").write_text(json.dumps(found | {"base_included": "../../here/tiny-base"}))
    with pytest.raises(ModelError, match="is not here"):
        load_model(tmp_path / "model")


def test_all_files_have_the_same_mode(base: str, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        build(base).save(str(tmp_path / "new"), base="include")
        (tmp_path / "old").mkdir()
        build(base, method="full").save(str(tmp_path / "old"))
    finally:
        os.umask(before)
    for folder in ("new", "old"):
        files = [path for path in (tmp_path / folder).rglob("*") if path.is_file()]
        assert any(path.suffix == ".safetensors" for path in files)
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}


@pytest.mark.parametrize("place", ["file", "folder", "base"])
def test_other_files_are_never_saved_over(place: str, base: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    target = base if place == "base" else str(tmp_path / place)
    with pytest.raises(
        ConfigError, match=r"(is a file|is not empty and holds no saved model).*give a new or empty folder"
    ):
        build(base).save(target)
    assert (tmp_path / "folder" / "thesis.tex").read_text() == "mine" and (Path(base) / "config.json").is_file()


def test_saving_over_a_model_replaces_it_and_keeps_what_is_not_the_model(base: str, tmp_path: Path) -> None:
    build(base).save(str(tmp_path / "model"), base="include")
    (tmp_path / "model" / "run.json").write_text("{}")
    build("poolwise/nano", "mean+causal", method="frozen").save(str(tmp_path / "model"))
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {
        *("1_MeanPooling", "2_Normalize", "README.md", "card.yaml", "config_sentence_transformers.json"),
        *("modules.json", "poolwise.json", "run.json", "checksums.json"),
    }
    assert load_model(tmp_path / "model")[0].design == "mean+causal"


def test_everything_that_is_saved_is_known_as_a_part(base: str, tmp_path: Path) -> None:
    for method in ("lora", "full"):
        build(base, method=method).save(str(tmp_path / method), base="include")
        assert [path.name for path in (tmp_path / method).iterdir() if not is_model_part(path.name)] == []


FULL = """
import resource, sys
from poolwise.errors import ModelError
from poolwise.models import load_model
model = load_model(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    model.save(sys.argv[2])
except ModelError as error:
    print(error)
"""


@pytest.mark.parametrize("is_new", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_full_disk_leaves_nothing_half_written(is_new: bool, base: str, tmp_path: Path) -> None:
    """The system refuses to write beyond a size, in the middle of the weights."""
    build(base).save(str(tmp_path / "model"))
    if not is_new:
        shutil.copytree(tmp_path / "model", tmp_path / "out")
    before = {path: path.read_bytes() for path in sorted((tmp_path / "out").rglob("*")) if path.is_file()}
    command = [sys.executable, "-c", FULL, str(tmp_path / "model"), str(tmp_path / "out"), "4000"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert "the disk is full; wanted room for its weights; nothing was written" in found.stdout, found.stderr
    after = {path: path.read_bytes() for path in sorted((tmp_path / "out").rglob("*")) if path.is_file()}
    assert after == before and (tmp_path / "out").exists() != is_new
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_says_so(number: int, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(base)

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("poolwise.models.saved_base.shutil.copyfile", fail)
    with pytest.raises(ModelError, match="the disk is full"):
        model.save(str(tmp_path / "out"), base="include")
    assert not (tmp_path / "out").exists()


def test_a_save_that_was_killed_midway_can_be_repeated(base: str, tmp_path: Path) -> None:
    model = build(base)
    model.save(str(tmp_path / "out"))
    (tmp_path / "out" / "poolwise.json").unlink()
    (tmp_path / "out" / ".model.partial").mkdir()
    with pytest.raises(ModelError, match=r"has no poolwise\.json"):
        load_model(tmp_path / "out")
    model.save(str(tmp_path / "out"))
    load_model(tmp_path / "out")
    assert not (tmp_path / "out" / ".model.partial").exists()


def test_a_model_is_saved_over_by_one_process_at_a_time(base: str, tmp_path: Path) -> None:
    model, out, lock = build(base), tmp_path / "model", tmp_path / ".model.lock"
    model.save(str(out))
    lock.touch()  # left by a process that was killed just after its save
    model.save(str(out))
    assert not lock.exists()
    with held_from_beside(out), pytest.raises(ConfigError, match="model is in use by process"):
        model.save(str(out))
    tmp_path.chmod(0o555)  # nothing can be made beside it; root could
    try:
        model.save(str(out))
    finally:
        tmp_path.chmod(0o755)
    load_model(out)


def test_a_wrong_base_argument_is_named(base: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="base is 'yes'; wanted \"include\" or None"):
        build(base).save(str(tmp_path / "out"), base="yes")


WITHOUT = """
import importlib.metadata, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "poolwise":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
version = importlib.metadata.version
def hidden(name):
    if name == "poolwise":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = hidden
from sentence_transformers import SentenceTransformer
for trust in (False, True):
    try:
        SentenceTransformer(sys.argv[1], trust_remote_code=trust, device="cpu")
    except Exception as error:
        print(type(error).__name__, error, "END")
"""


@pytest.mark.slow
def test_without_poolwise_sentence_transformers_says_what_to_install(base: str, tmp_path: Path) -> None:
    build(base).save(str(tmp_path / "model"))
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "model")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.count("ImportError") == 2 == found.count("pip install poolwise")
    assert found.count("import poolwise; model = poolwise.load_model(") == 2 and "third-party" not in found


def test_a_card_follows_the_model_while_its_weights_are_the_same(base: str, tmp_path: Path) -> None:
    model = build(base)
    model.save(str(tmp_path / "a"))
    facts = yaml.safe_load((tmp_path / "a" / "card.yaml").read_text())
    facts["training"] = {"sources": {"mine.jsonl": 7}, "seed": 3, "settings": {"steps": 5}}
    (tmp_path / "a" / "card.yaml").write_text(yaml.safe_dump(facts))
    loaded = load_model(tmp_path / "a", precision="fp32")
    loaded.save(str(tmp_path / "b"), base="include")
    assert "mine.jsonl" in (tmp_path / "b" / "README.md").read_text()
    for weight in loaded[1].parameters():
        weight.data += 0.5
    loaded.save(str(tmp_path / "c"))
    assert "mine.jsonl" not in (tmp_path / "c" / "README.md").read_text()


def test_damaged_facts_do_not_keep_a_model_from_loading(base: str, tmp_path: Path) -> None:
    build(base).save(str(tmp_path / "model"))
    (tmp_path / "model" / "card.yaml").write_text("name: [")
    assert load_model(tmp_path / "model").known_facts is None


def test_a_licence_that_was_filled_in_is_kept(base: str, tmp_path: Path) -> None:
    build(base, method="full").save(str(tmp_path / "a"))
    path = tmp_path / "a" / "card.yaml"
    facts = yaml.safe_load(path.read_text())
    facts["model"]["base"]["licence"] = "mit"
    path.write_text(yaml.safe_dump(facts))
    load_model(tmp_path / "a").save(str(tmp_path / "b"))
    assert "license: mit\n" in (tmp_path / "b" / "README.md").read_text()


def test_a_model_saved_by_an_older_version_loads(base: str, tmp_path: Path) -> None:
    model = build(base)
    model.save(str(tmp_path / "model"))
    found = stored(tmp_path / "model")
    del found["base_places"]
    (tmp_path / "model" / "poolwise.json").write_text(json.dumps(found | {"base": base}))
    for name in ("card.yaml", "README.md"):
        (tmp_path / "model" / name).unlink()
    loaded = load_model(tmp_path / "model", precision="fp32")
    assert np.array_equal(loaded.encode(TEXTS), model.encode(TEXTS))
    loaded.save(str(tmp_path / "new"))
    assert stored(tmp_path / "new")["base"] == "tiny-base"


def test_sentence_transformers_can_save_it_too(base: str, tmp_path: Path) -> None:
    build(base).save(str(tmp_path / "model"))
    plain = SentenceTransformer(str(tmp_path / "model"), trust_remote_code=True, device="cpu")
    plain.save(str(tmp_path / "again"))
    assert stored(tmp_path / "again")["base"] == "tiny-base"
    load_model(tmp_path / "again")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_saved_model_reads_spelled_special_tokens_as_it_was_trained(method: str, base: str, tmp_path: Path) -> None:
    spelled, plain = "a dog <eos>", "a dog"
    stock = build_model("last+causal", base, method=method, precision="fp32", max_tokens=32, split_special_tokens=False)
    assert (stock.encode(spelled) == stock.encode(plain)).all()
    stock.save(str(tmp_path / "stock"))
    # As models of earlier versions were saved.
    assert "split_special_tokens" not in stored(tmp_path / "stock")
    loaded = load_model(tmp_path / "stock", precision="fp32")
    assert (loaded.encode(spelled) == stock.encode(plain)).all()

    model = build_model("last+causal", base, method=method, precision="fp32", max_tokens=32)
    assert abs(model.encode(spelled) - model.encode(plain)).max() > 0.01
    assert (model.encode(plain) == stock.encode(plain)).all()
    model.save(str(tmp_path / "model"))
    again = load_model(tmp_path / "model", precision="fp32")
    assert (again.encode([spelled, plain]) == model.encode([spelled, plain])).all()


def test_a_model_refuses_prompts_that_spell_special_tokens(base: str) -> None:
    with pytest.raises(ConfigError, match=r"spells the special token <eos>.*split_special_tokens to false"):
        build_model("mean+causal", base, max_tokens=32, prompts={"query": "search <eos> "})
    model = build_model("mean+causal", base, max_tokens=32)
    with pytest.raises(ConfigError, match="spells the special token <bos>"):
        model.encode("a dog", prompt="<bos> ")
    acts = build_model("mean+causal", base, max_tokens=32, split_special_tokens=False)
    assert acts[0].preprocess(["a dog"], "search <eos> ")["input_ids"].tolist()[0].count(2) == 2
