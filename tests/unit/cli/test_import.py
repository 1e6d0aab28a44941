"""``poolwise import`` on the command line: what it prints, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poolwise.cli.main import app
from poolwise.errors import ModelError
from tiny_models import save_tiny_base


def test_it_prints_what_was_imported_and_how_it_behaves(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "grit", "llama")
    out = tmp_path / "out"
    asked = ["import", base, "--format", "gritlm", "--max-tokens", "32", "--out", str(out)]
    found = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert found.exit_code == 0
    for part in (
        "design: mean(prompt=skip)+bidirectional",
        "pass  attention: bidirectional",
        "last id",
        "note: with an",
    ):
        assert part in found.stdout
    record = json.loads((out / "imported.json").read_text())
    again = CliRunner().invoke(app, [*asked[:-1], str(tmp_path / "other"), "--json"], catch_exceptions=False)
    repeated = json.loads(again.stdout)
    for one in (record, repeated):  # the speed is another one each time
        one["checks"] = [check for check in one["checks"] if check["name"] != "speed"]
    assert repeated == record


def test_an_unknown_folder_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"cannot tell how .*empty was made"):
        asked = ["import", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]
        CliRunner().invoke(app, asked, catch_exceptions=False)
