"""The README fits one minute, and its Python runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support import ROOT

README = (ROOT / "README.md").read_text()


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 110


def test_the_python_ends_in_a_search_result(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    (promised,) = re.findall(r"print\(.*\)  # (.*)", code)
    assert found.stdout.strip() == promised


def test_commands_survive_any_shell() -> None:
    """zsh takes brackets for a pattern of file names unless they are quoted."""
    for block in re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL):
        assert not re.findall(r"(?<!')\b\w+=\[", block), block
