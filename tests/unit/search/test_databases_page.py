"""Every block of the page on vector databases runs, but for LlamaIndex's, which runs in tests/interop."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poolwise.cli.main import app
from poolwise.models import build_model
from postgres_server import postgres_server
from support import ROOT, load_example

FOLDER = ROOT / "docs" / "how-to"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
BLOCKS = [found.groups() for found in BLOCK.finditer((FOLDER / "vector-databases.md").read_text())]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (rows,) = [text for kind, text in BLOCK.findall((FOLDER / "encode-a-corpus.md").read_text()) if kind == "jsonl"]
    (tmp_path / "corpus.jsonl").write_text(rows)
    build_model("mean+causal", "poolwise/nano").save(str(tmp_path / "runs" / "mine"))
    monkeypatch.chdir(tmp_path)
    with postgres_server() as url:
        monkeypatch.setenv("DATABASE_URL", url)
        yield tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_every_block_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert (kinds.count("console"), kinds.count("python"), kinds.count("sh"), len(kinds)) == (5, 3, 1, 9)
    for kind, text in BLOCKS:
        capsys.readouterr()
        if kind == "console":
            for line in text.splitlines():
                run_command(line)
        elif kind == "python" and "llama_index" not in text:
            exec(text, {})
            (promised,) = re.findall(r"print\(.*\)  # (.*)", text)
            assert capsys.readouterr().out.splitlines()[-1] == promised
    assert capsys.readouterr().out.splitlines()[0] == "> [open#0] open Open a file and return a file object."


def run_command(line: str) -> None:
    prompt, program, *arguments = shlex.split(line)
    assert prompt == "$"
    if program == "python":
        assert arguments[0] == "examples/rag.py"
        assert load_example("rag").main(arguments[1:]) == 0
        return
    assert program == "poolwise"
    found = CliRunner().invoke(app, ["--quiet", *arguments])
    assert found.exit_code == 0, found.output
    if arguments[0] == "search":
        assert "open#0" in found.output
