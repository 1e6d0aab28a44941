"""The reference pages say what the code says."""

import subprocess
import sys

from support import ROOT


def test_reference_pages_are_current() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_reference.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, f"{found.stdout}; run `make docs`"
