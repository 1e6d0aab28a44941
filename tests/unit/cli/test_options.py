"""What every verb does first: the environment, and which messages reach the user; each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from poolwise.cli.main import app
from poolwise.errors import ConfigError, ModelError
from poolwise.kernels.devices import require_device
from poolwise.records import require_finished

TELL = """
import logging, sys
from poolwise.cli.options import prepare_process, set_talk
prepare_process()
set_talk(*[word in sys.argv for word in ("verbose", "quiet")])
for name in ("poolwise.kernels.packing", "poolwise.kernels.fused"):
    logging.getLogger(name).warning("read\\n%s", "padded")
    logging.getLogger(name).info("rows: 3")
logging.getLogger("poolwise.data").error("lost")
import transformers, datasets, huggingface_hub
for name in ("transformers.models.x", "sentence_transformers.base", "mteb", "datasets.load", "huggingface_hub.file"):
    logging.getLogger(name).warning("advice of a library")
"""


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | environment
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, env=env)


@pytest.mark.parametrize(
    ("talk", "lines"),
    [
        ([], ["note: read padded", "note: lost"]),
        (["verbose"], ["note: read padded", "note: rows: 3", "note: lost"]),
        (["quiet"], ["note: lost"]),
    ],
)
def test_each_message_of_ours_is_told_once_and_none_of_the_libraries(talk: list[str], lines: list[str]) -> None:
    found = run(TELL, *talk)
    assert (found.stderr.splitlines(), found.stdout) == (lines, "")


def test_threads_wait_quietly_unless_the_user_says_otherwise() -> None:
    code = (
        "import os, sys; sys.argv = ['poolwise', '--version']; from poolwise.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    assert run(code).stdout.splitlines()[1] == "passive False"
    assert run(code, OMP_WAIT_POLICY="active").stdout.splitlines()[1] == "active False"


@pytest.mark.parametrize("command", ["encode no rows.jsonl --out out", "doctor no", "push no org/name", "serve no"])
def test_a_missing_model_is_refused_before_torch_is_imported(command: str, tmp_path: Path) -> None:
    code = (
        "import os, sys; os.chdir(sys.argv.pop(1)); sys.argv[0] = 'poolwise'\n"
        "from poolwise.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    found = run(code, str(tmp_path), *command.split())
    assert found.stdout.split() == ["2", "False"]
    assert found.stderr.startswith("error: no ")
    assert found.stderr.endswith("check the path\n")


@pytest.mark.parametrize("name", ["spec.json", "training.jsonl", "checkpoints/checkpoint-3"])
def test_a_run_without_its_model_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(ModelError, match=r"training is not finished.*repeat the poolwise command"):
        require_finished(tmp_path)
    (tmp_path / "model").mkdir()
    require_finished(tmp_path)


@pytest.mark.parametrize("files", [[], ["modules.json", "training.jsonl"], ["config.json"]])
def test_other_folders_and_names_are_not(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).touch()
    require_finished(tmp_path)
    require_finished(Path("owner/name"))


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:0:1", "cpu:0", "CPU", ""])
def test_what_is_no_device_is_one_error(name: str) -> None:
    with pytest.raises(ConfigError, match="wanted cpu, cuda, cuda:N or mps"):
        require_device(name)


def test_a_device_that_the_machine_lacks_names_those_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in (None, "cpu", "cuda", "cuda:1"):
        require_device(name)
    for name in ("cuda:2", "mps"):
        with pytest.raises(ConfigError, match=r"no such device; wanted one of cpu, cuda:0, cuda:1$"):
            require_device(name)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--design", "mean+causal", "--data", "absent.jsonl", "--out", "run"],
        ["eval", ".", "--tasks", "absent", "--out", "run"],
        ["doctor", "."],
    ],
)
def test_a_bad_device_is_found_before_anything_is_read(arguments: list[str]) -> None:
    found = CliRunner().invoke(app, [*arguments, "--device", "gpu"])
    assert isinstance(found.exception, ConfigError) and "'gpu' is not a device" in str(found.exception)
