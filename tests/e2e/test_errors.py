"""What a user sees for bad input: exit code 2, one clear message, no traceback, nothing lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from command_line import POOLWISE, poolwise, write_recipe
from support import ROOT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"designs": ["paper:1", "multilayr+causal"]}, "did you mean 'multilayer'"),
        ({"designs": ["paper:1", "latent(keyz=last)+causal"]}, "did you mean 'keys'"),
        ({"tain": {}}, "did you mean 'train'"),
        ({"base": "no/such/folder/here"}, "no/such/folder/here"),
        ({"data": {"train": ["missing.jsonl"]}}, "missing.jsonl"),
        ({"tasks": ["nowhere"]}, "nowhere"),
        ({"train": {"steps": 2, "batch_size": 4000}}, "batch"),
        ({"train": {"steps": "many"}}, "train.steps"),
    ],
)
def test_bad_recipes(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_recipe(tmp_path, **changes)
    found = poolwise("study", "toy.yaml", "--out", "out", cwd=tmp_path, code=2)
    assert message in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("override", ["train.steps=[1", "=3", "seeds=[-1]", "train.learning_rate=.inf", "base="])
def test_bad_overrides(tmp_path: Path, override: str) -> None:
    write_recipe(tmp_path)
    found = poolwise("study", "toy.yaml", "--out", "out", "--set", override, "--json", cwd=tmp_path, code=2)
    assert found.stderr.startswith("error: ") and found.stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [bytes(range(256)), b"", b"- a\n", b"? [1]\n: 2\n", "name: a".encode("utf-16")])
def test_files_that_are_no_recipe(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "toy.yaml").write_bytes(content)
    found = poolwise("study", "toy.yaml", "--out", "out", cwd=tmp_path, code=2)
    assert "toy.yaml" in found.stderr and "Traceback" not in found.stderr


def test_bad_input_leaves_nothing_that_refuses_the_mended_recipe(tmp_path: Path) -> None:
    write_recipe(tmp_path, tasks=["nowhere"])
    poolwise("study", "toy.yaml", "--out", "out", cwd=tmp_path, code=2)
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_lines_are_counted_and_named(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    lines[3] = "{not json"
    lines[5] = json.dumps({"query": "a", "positive": " "})
    lines[7] = json.dumps({"query": "a"})
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    found = poolwise("study", "toy.yaml", "--out", "out", cwd=tmp_path, code=2)
    for place in ("train.jsonl:4", "train.jsonl:6", "train.jsonl:8"):
        assert place in found.stderr


@pytest.mark.slow
def test_a_hub_name_without_a_network_says_how_to_use_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A port where nobody listens, and libraries that have not been told so.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    write_recipe(tmp_path, base="someone/some-model")
    found = poolwise("study", "toy.yaml", "--out", "out", cwd=tmp_path, code=2, offline="0")
    assert "someone/some-model" in found.stderr
    assert "folder" in found.stderr
    assert found.stderr.count("\n") == 1  # no word of retries


def test_eval_of_a_missing_model(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    found = poolwise("eval", "./absent", "--tasks", "suite", "--out", "o", cwd=tmp_path, code=2)
    assert "absent" in found.stderr and "Traceback" not in found.stderr


def test_compare_of_nothing(tmp_path: Path) -> None:
    found = poolwise("compare", "empty", cwd=tmp_path, code=2)
    assert "no run in empty" in found.stderr


@pytest.mark.slow
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("verb", ["study", "eval", "doctor"])
def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path, verb: str, file: str) -> None:
    write_recipe(tmp_path, base="./theirs")
    marker = tmp_path / "was_run"
    _write_model_with_code(tmp_path / "theirs", file, marker)
    arguments = {
        "study": ["study", "toy.yaml", "--out", "out"],
        "eval": ["eval", "./theirs", "--tasks", "suite", "--out", "out"],
        "doctor": ["doctor", "./theirs"],
    }[verb]
    found = subprocess.run(
        [*POOLWISE, *arguments], input="y\n" * 50, capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert found.returncode == 2, found.stderr
    assert found.stderr.startswith("error: ") and found.stderr.count("\n") == 1 and found.stdout == ""
    assert not marker.exists()


def _write_model_with_code(folder: Path, file: str, marker: Path) -> None:
    """Write the embedded base as a model whose configuration or tokenizer is a class of its own."""
    shutil.copytree(ROOT / "src" / "poolwise" / "embedded" / "nano", folder)
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nclass Theirs:\n    pass\n"
    (folder / "theirs.py").write_text(code)
    settings = json.loads((folder / file).read_text())
    if file == "config.json":
        more = {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Theirs", "AutoModel": "theirs.Theirs"}}
    else:
        more = {"tokenizer_class": "Theirs", "auto_map": {"AutoTokenizer": ["theirs.Theirs", None]}}
        (folder / "tokenizer.json").unlink()
    (folder / file).write_text(json.dumps(settings | more))
