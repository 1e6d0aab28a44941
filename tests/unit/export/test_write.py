"""``export_model`` and ``verify_export``: what differs, is refused or fails leaves nothing behind, and says where."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from poolwise.errors import ConfigError, ModelError
from poolwise.export import export_model, merged, sentence_folder, verify_export
from poolwise.export.code import BUNDLED, MODULES_WITH_CODE, SOURCE, require_own_code
from tiny_models import save_tiny_base
from toy_exports import moved_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return moved_model("mean+bidirectional", save_tiny_base(tmp_path_factory.mktemp("base") / "llama", "llama"))


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "export"
    checked = export_model(model, "sentence-transformers", folder)
    return folder, checked


def copied(exported, tmp_path):
    return shutil.copytree(exported[0], tmp_path / "copy")


def test_an_export_can_be_moved_and_verified(exported, tmp_path) -> None:
    folder, checked = exported
    assert 0 < checked.worst < 1e-5 and checked.golden.design == "mean+bidirectional"
    again = verify_export(shutil.copytree(folder, tmp_path / "moved"))
    assert [d.amount for d in again.differences] == [d.amount for d in checked.differences]
    assert not list(folder.parent.glob("*.partial"))


def test_the_readme_says_what_was_measured(exported) -> None:
    text = (exported[0] / "README.md").read_text()
    assert f"{exported[1].worst:.1e}" in text and "SentenceTransformer(" in text and "transformers 5" in text
    assert str(exported[0].parent) not in text


@pytest.mark.slow
def test_lost_attention_is_found_and_the_texts_are_named(exported, tmp_path) -> None:
    folder = copied(exported, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"is_causal": True}))
    with pytest.raises(ModelError, match=r"differs from poolwise in \d+ of \d+ texts: .*short text.*wanted at most"):
        verify_export(folder)


@pytest.mark.slow
def test_lost_eos_is_found(exported, tmp_path) -> None:
    folder = copied(exported, tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"post_processor": None}))
    with pytest.raises(ModelError, match="differs from poolwise in"):
        verify_export(folder)


@pytest.mark.slow
def test_a_vector_that_is_no_number_is_a_difference(exported, tmp_path) -> None:
    folder = copied(exported, tmp_path)
    vectors = np.load(folder / "golden.npy")
    vectors[0] = np.nan
    np.save(folder / "golden.npy", vectors)
    with pytest.raises(ModelError, match="differs from poolwise in 1 of"):
        verify_export(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("golden.json", None, r"has no golden\.json"),
        ("golden.json", b"{}", "cannot read the golden vectors"),
        ("golden.npy", b"x", "cannot read the golden vectors"),
        pytest.param("model.safetensors", None, "cannot be loaded without poolwise", marks=pytest.mark.slow),
    ],
)
def test_damaged_exports(exported, tmp_path, name, content, message) -> None:
    folder = copied(exported, tmp_path)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        verify_export(folder)


def test_code_of_others_is_not_run(exported, tmp_path) -> None:
    folder = copied(exported, tmp_path)
    (folder / BUNDLED).write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "bundled_modules.Head"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"would run code that this poolwise did not write: .*bundled_modules\.py"):
        verify_export(folder)
    assert not (tmp_path / "was-run").exists()


def with_code(tmp_path: Path, *more: dict[str, str]) -> Path:
    """Return a folder with what an export with code would load, and more modules."""
    folder = tmp_path / "with-code"
    folder.mkdir()
    shutil.copyfile(SOURCE, folder / BUNDLED)
    rows = [{"path": path, "type": kind} for path, kind in MODULES_WITH_CODE]
    (folder / "modules.json").write_text(json.dumps([*rows, *more]))
    return folder


def test_an_export_with_code_has_the_modules_of_poolwise_only(tmp_path) -> None:
    require_own_code(with_code(tmp_path))
    shutil.rmtree(tmp_path / "with-code")
    # With trust_remote_code=True, Dense calls what its configuration names.
    dense = {"path": "9_Dense", "type": "sentence_transformers.models.Dense"}
    with pytest.raises(ModelError, match=r"would run code .*: sentence_transformers\.models\.Dense of modules\.json"):
        require_own_code(with_code(tmp_path, dense))


def test_links_to_folders_are_not_followed(tmp_path) -> None:
    folder = with_code(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "theirs.py").touch()
    (folder / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="has links to folders: sub; copy it"):
        require_own_code(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("modules.json", [{"type": "org/other--modeling.Model", "path": ""}], "org/other--modeling.Model"),
        ("config.json", {"auto_map": {"AutoModel": "modeling.Model"}}, r"auto_map of config\.json"),
    ],
)
def test_settings_that_name_code_are_refused(exported, tmp_path, name, content, message) -> None:
    folder = copied(exported, tmp_path)
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        verify_export(folder)


@pytest.mark.slow
def test_an_export_that_differs_is_removed(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sentence_folder, "TOLERANCE", 1e-12)
    with pytest.raises(ModelError, match="the export to sentence-transformers differs"):
        export_model(model, "sentence-transformers", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(model, tmp_path, monkeypatch) -> None:
    def write(model, folder, *, options):
        (folder / "half").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(merged, "write", write)
    with pytest.raises(OSError, match="No space left"):
        export_model(model, "merged", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_left_alone(model, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        export_model(model, "merged", tmp_path / "out")
    with pytest.raises(ConfigError, match="is a file"):
        export_model(model, "merged", tmp_path / "out" / "mine.txt")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_a_path_without_a_model(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(ModelError, match="wanted a folder saved by poolwise"):
            export_model(path, "merged", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_saved_model_whose_base_is_gone(tmp_path) -> None:
    base = save_tiny_base(tmp_path / "base", "llama")
    moved_model("mean+causal", base).save(str(tmp_path / "model"))
    shutil.rmtree(base)
    with pytest.raises(ModelError, match=r"the base of .* is not here"):
        export_model(tmp_path / "model", "merged", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_targets_and_options(model, tmp_path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'merged'"):
        export_model(model, "merge", tmp_path / "out")
    with pytest.raises(ConfigError, match="target merged has no option 'int8'"):
        export_model(model, "merged", tmp_path / "out", options={"int8": True})


@pytest.mark.parametrize(
    ("design", "reason"),
    [
        ("multilayer+causal", "pools the states of several layers"),
        ("latent+causal", "has a trained head"),
        ("soft_tokens+causal", "reads trained tokens"),
        ("mean(echo=true)+causal", "reads every text twice"),
        ("landmark+causal", "reads landmarks inside of a text"),
        ("mean(skip=bos)+causal", "leaves BOS out"),
        ("mean(prompt=skip)+causal", "leaves the prompt out"),
        ("mean(dim=8)+causal", "ends in a projection"),
        ("mean+bidirectional(top=1)", r"has bidirectional\(top=1\) attention"),
        ("last+bidirectional(on=prompt)", r"has bidirectional\(on=prompt\) attention"),
    ],
)
def test_what_a_plain_folder_cannot_express(tmp_path, design, reason) -> None:
    model = moved_model(design, save_tiny_base(tmp_path / "base", "llama"))
    with pytest.raises(ModelError, match=f"{reason}.*give --target sentence-transformers"):
        export_model(model, "merged", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["merged", "sentence-transformers", "onnx"])
def test_a_model_whose_texts_do_not_end_in_eos_is_refused(tmp_path, target) -> None:
    model = moved_model("mean+bidirectional", save_tiny_base(tmp_path / "base", "llama"))
    model[0].tokens.ending = []  # as models of LLM2Vec are imported
    with pytest.raises(ModelError, match="its texts do not end in EOS"):
        export_model(model, target, tmp_path / "out")


@pytest.mark.slow
def test_last_needs_nothing_special_to_skip_the_prompt(tmp_path) -> None:
    model = moved_model("last(prompt=skip)+causal", save_tiny_base(tmp_path / "base", "llama"))
    assert export_model(model, "merged", tmp_path / "out").worst < 1e-5


def test_an_import_of_poolwise_fails_in_the_check(exported, tmp_path, monkeypatch) -> None:
    runner = tmp_path / "run.py"
    runner.write_text("import poolwise\n")
    monkeypatch.setattr(sentence_folder, "RUNNER", str(runner))
    with pytest.raises(ModelError, match=r"cannot be loaded without poolwise: .*poolwise"):
        verify_export(exported[0])
