"""Paths, files, numbers and texts that nothing can use, through the command line: one error of one kind, exit code 2.

Each command runs in a fork of this process, which has imported everything: a hundred commands then take a minute.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
import sys
import traceback
from pathlib import Path

import pytest
import yaml

import toys
from poolwise.cli import main as command
from poolwise.study import preload  # noqa: F401  # imported here, once
from tiny_models import save_tiny_base

pytestmark = pytest.mark.slow

LONG = "x" * 300
TRAIN = ("train", "--design", "mlp+causal", "--data", "train.jsonl", "--base", "base", "--steps", "0")
TRAIN += ("--set", "max_tokens=24", "--set", "batch_size=4")
EVAL = ("eval", "model", "--tasks", "suite/sts", "--out", "new")
STUDY = ("study", "recipe.yaml", "--out", "study", "--workers", "1")


def act(folder: Path, arguments: tuple[str, ...], log: Path) -> None:
    os.chdir(folder)
    number = os.open(log, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(number, stream)
    sys.stdout = sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb"), write_through=True, errors="backslashreplace")
    sys.argv = ["poolwise", *arguments]
    code: object = 99
    try:
        command.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Return the exit code of a command and what it printed."""
    log = folder / "log.txt"
    log.unlink(missing_ok=True)
    child = multiprocessing.get_context("fork").Process(target=act, args=(folder, arguments, log))
    child.start()
    child.join(300)
    return child.exitcode or 0, log.read_text(errors="backslashreplace")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, a model, data, tasks, and a finished study."""
    folder = tmp_path_factory.mktemp("attacks")
    save_tiny_base(folder / "base", "gpt2")
    toys.write_training(folder / "train.jsonl")
    toys.write_suite(folder / "suite")
    recipe = {
        "name": "toy",
        "base": "base",
        "designs": ["mean+causal"],
        "reference": "mean+causal",
        "seeds": [0],
        "data": {"train": ["train.jsonl"]},
        "train": {"steps": 1, "batch_size": 4, "max_tokens": 24},
        "eval": {"max_tokens": 24},
        "tasks": ["suite/sts"],
        "anchors": ["random"],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for arguments in ((*TRAIN, "--out", "model"), STUDY):
        code, said = run(folder, *arguments)
        assert code == 0, said
    return folder


def refused(place: Path, *arguments: str) -> str:
    code, said = run(place, *arguments)
    assert code == 2 and "Traceback" not in said, f"exit {code}\n{said}"
    assert "error: " in said and "bug in poolwise" not in said
    return said


@pytest.mark.parametrize("path", ["~nouser/x", LONG, f"/root/{LONG}", "a\tb/c"])
def test_paths_that_cannot_be(place: Path, path: str) -> None:
    commands = [
        ("study", path),
        (*STUDY[:2], "--out", "other", "--set", f"tasks={json.dumps([path])}"),
        (*STUDY[:2], "--out", "other", "--set", f"data.train={json.dumps([path])}"),
        (*STUDY[:2], "--out", "other", "--set", f"entrants={json.dumps([path])}"),
        (*STUDY[:2], "--out", "other", "--set", f"base={json.dumps(path)}"),
        ("eval", path, *EVAL[2:]),
        ("eval", "model", "--tasks", path, "--out", "new"),
        ("doctor", path),
        ("export", path, "--target", "sentence-transformers", "--out", "new"),
        ("compare", path),
        ("report", path),
        ("verify", path),
        ("encode", path, "train.jsonl", "--out", "new"),
        ("encode", "model", path, "--out", "new"),
        ("mine", path, "--model", "model", "--out", "new.jsonl"),
        ("mine", "train.jsonl", "--model", path, "--out", "new.jsonl"),
        (*TRAIN[:3], "--data", path, *TRAIN[5:], "--out", "new"),
        (*TRAIN, "--base", path, "--out", "new"),
        ("import", path, "--out", "new"),
        ("push", path, "a/b", "--dry-run"),
        ("plan", path, "--detect", "0.01"),
    ]
    for arguments in commands:
        refused(place, *arguments)
        shutil.rmtree(place / "new", ignore_errors=True)


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b"[]", b'{"a":'])
def test_damaged_files_of_a_study_end_in_its_results_or_in_an_error(place: Path, raw: bytes) -> None:
    wanted = json.loads((place / "study" / "results.json").read_text())["results"]
    names = ["study.json", "plan.json", "results.json", "runs/mean*/training.jsonl", "runs/mean*/run.json"]
    names += ["runs/mean*/items/*/*.gz", "jobs/train*.json", "jobs/eval*.json", "runs/mean*/items/checksums.json"]
    for name in names:
        copy = place / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(place / "study", copy)
        next(copy.glob(name)).write_bytes(raw)
        for arguments in (("compare", "copy"), ("report", "copy"), (*STUDY[:3], "copy", *STUDY[4:])):
            code, said = run(place, *arguments)
            assert code in (0, 2) and "Traceback" not in said, f"{name} {arguments}\n{said}"
        if code == 0:
            assert json.loads((copy / "results.json").read_text())["results"] == wanted


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b"[]", b'{"a":1}'])
def test_damaged_files_of_a_model_are_named(place: Path, raw: bytes) -> None:
    for path in sorted((place / "model" / "model").rglob("*")):
        if not path.is_file():
            continue
        copy = place / "bad"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(place / "model" / "model", copy)
        (copy / path.relative_to(place / "model" / "model")).write_bytes(raw)
        for arguments in (
            ("eval", "bad", "--tasks", "suite/sts", "--out", "new"),
            ("export", "bad", "--target", "sentence-transformers", "--out", "new"),
        ):
            code, said = run(place, *arguments)
            assert code in (0, 2) and "Traceback" not in said, f"{path.name} {arguments}\n{said}"
            shutil.rmtree(place / "new", ignore_errors=True)


@pytest.mark.parametrize(
    "setting",
    [
        *("designs=[mean(dim=99999999999999999999)+causal]", "train.steps=1e400", "seeds=[99999999999999999999999]"),
        *("train.lora_rank=99999999999", "train.max_tokens=999999999999", "train.steps=999999999999"),
        *("train.matryoshka=[999999999999999]", "train.processes=99999", "tasks=[{a: 1}]", "base=[1]"),
    ],
)
def test_settings_that_nothing_can_hold(place: Path, setting: str) -> None:
    refused(place, *STUDY[:2], "--out", "other", "--workers", "1", "--set", setting)


@pytest.mark.parametrize("prompt", ["query=\ud800", "sts.query=\udcff"])
def test_prompts_that_are_no_text(place: Path, prompt: str) -> None:
    assert "half a surrogate pair" in refused(place, *EVAL, "--prompt", prompt)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"query": "a \\ud800", "positive": "b"}\n' * 8,
        b'{"query": ' + b"9" * 5000 + b', "positive": "b"}\n',
        *(b'{"query": NaN, "positive": "b"}\n', b"[" * 100_000, b"\xff\xfe\n", b"", "{}\n".encode("utf-16")),
    ],
)
def test_data_that_is_no_data(place: Path, raw: bytes) -> None:
    (place / "bad.jsonl").write_bytes(raw)
    for arguments in (
        (*TRAIN[:3], "--data", "bad.jsonl", *TRAIN[5:], "--out", "new"),
        ("encode", "model", "bad.jsonl", "--out", "new", "--text-column", "query"),
        ("mine", "bad.jsonl", "--model", "model", "--out", "new.jsonl"),
    ):
        refused(place, *arguments)
        shutil.rmtree(place / "new", ignore_errors=True)
