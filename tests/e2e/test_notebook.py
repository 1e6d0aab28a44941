"""Every cell of the notebook runs, in order, in an empty folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "library.ipynb"


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path) -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells and not any(cell["outputs"] for cell in cells), "outputs are not kept: they go stale"
    (tmp_path / "cells.py").write_text("\n".join("".join(cell["source"]) for cell in cells))
    found = subprocess.run([sys.executable, "cells.py"], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "torch.Size([1, 3])" in found.stdout and "3 0" in found.stdout
