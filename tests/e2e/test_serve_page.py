"""Every block of the page "Serve a model" runs, and the files of ``deploy/`` start what there is."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from zipfile import ZipFile

import pytest
import typer
from typer.testing import CliRunner

from docs_pages import blocks_of, free_port
from poolwise.cli.main import app
from serving_process import serving
from support import ROOT

PAGE = (ROOT / "docs" / "how-to" / "serve.md").read_text()
BLOCKS = [(block.language, block.text) for block in blocks_of(PAGE)]
UNIT = ROOT / "deploy" / "poolwise.service"


@pytest.mark.slow
def test_every_block_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (commands,) = [text for kind, text in BLOCKS if kind == "console"]
    train, serve = (shlex.split(line)[2:] for line in commands.splitlines())
    assert CliRunner().invoke(app, train).exit_code == 0
    assert (serve[0], serve[2:]) == ("serve", ["--port", "8000"])
    with serving(tmp_path / serve[1], port=(port := free_port())):
        here = [(kind, text.replace("127.0.0.1:8000", f"127.0.0.1:{port}")) for kind, text in BLOCKS]
        for text in (text for kind, text in here if kind == "bash"):
            if shutil.which("curl"):
                found = subprocess.run(shlex.split(text), capture_output=True, text=True, check=True)
                assert [len(one["embedding"]) for one in json.loads(found.stdout)["data"]] == [256, 256]
        for text in (text for kind, text in here if kind == "python"):
            with redirect_stdout(StringIO()) as printed:  # a process each would import torch each time
                exec(text, {})
            assert printed.getvalue().strip() == re.findall(r"print\(.*\)  # (.*)", text)[0]


def test_what_the_files_of_deploy_start_exists() -> None:
    (command,) = re.findall(r"^ExecStart=\S+/poolwise (.*)$", UNIT.read_text(), flags=re.MULTILINE)
    container = (ROOT / "deploy" / "Containerfile").read_text()
    entry, arguments = (
        json.loads(*re.findall(rf"^{word} (.*)$", container, flags=re.MULTILINE)) for word in ("ENTRYPOINT", "CMD")
    )
    assert entry[0] == "poolwise"
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for verb, *rest in (shlex.split(command), [*entry[1:], *arguments]):
        known = {name for option in verbs[verb].params for name in option.opts}
        assert {one for one in rest if one.startswith("--")} <= known


@pytest.mark.slow
def test_what_the_image_copies_is_enough_to_build_the_package(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the package")
    lines = re.findall(r"^COPY (.*) \./(?:src)?$", (ROOT / "deploy" / "Containerfile").read_text(), flags=re.MULTILINE)
    for name in " ".join(lines).split():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", "built", "."]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "built").glob("poolwise-*.whl")
    assert {"poolwise/serving/assets/experiment.js", "poolwise/report/page.css"} <= set(ZipFile(wheel).namelist())


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / "poolwise.service"
    copy.write_text(UNIT.read_text().replace("/opt/poolwise/bin/poolwise", sys.executable))
    found = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True)
    assert (found.returncode, [line for line in found.stderr.splitlines() if "poolwise" in line]) == (0, [])
