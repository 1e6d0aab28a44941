"""Every block of the doctor's page runs; its tables are made from the code, which test_reference checks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from doctor_models import change, save_base, save_stock
from poolwise.checks import LINES
from poolwise.checks.diagnose import STEPS
from poolwise.cli.main import app
from poolwise.models import build_model
from support import ROOT

PAGE = (ROOT / "docs" / "how-to" / "doctor.md").read_text()
OTHERS = {"custom code", "usable as a base", "causal", "bidirectional"}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = save_base(tmp_path / "base", "llama")
    save_stock(tmp_path / "my-model", base)
    save_stock(tmp_path / "broken", base)
    change(tmp_path / "broken" / "1_Pooling" / "config.json", pooling_mode_lasttoken=True)
    build_model("mean+causal", base, max_tokens=512).save(str(tmp_path / "runs" / "mine" / "model"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("models")
def test_every_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [shlex.split(line) for block in blocks("console") for line in block.splitlines()]
    assert len(commands) == 4
    for prompt, program, *arguments in commands:
        assert (prompt, program) == ("$", "poolwise")
        found = CliRunner().invoke(app, ["--quiet", *arguments])
        assert found.exit_code == 0, found.output
    (code,) = blocks("python")
    exec(code, {})
    assert capsys.readouterr().out.splitlines()[-1] == "pass"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_every_line_is_measured_by_one_step() -> None:
    measured = [name for _, names in STEPS for name in names]
    assert sorted({*measured, *OTHERS}) == sorted(LINES) and len(measured) == len(set(measured))
