"""The README fits one minute, and its Python runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

README = (ROOT / "README.md").read_text()


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 110


def test_the_python_ends_in_a_search_result(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    (promised,) = re.findall(r"print\(.*\)  # (.*)", code)
    assert found.stdout.strip() == promised


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_survive_any_shell(path: Path) -> None:
    """zsh takes brackets for a pattern of file names unless they are quoted."""
    assert not re.findall(r"--set [\w.]+=[^\s'\"]*\[.*", path.read_text())
