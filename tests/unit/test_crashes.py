"""A process that crashes inside a library says where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CRASH = """
import faulthandler, sys
from pathlib import Path
from poolwise.crashes import tell_crashes

tell_crashes(*map(Path, sys.argv[1:]))
print("works", flush=True)

def at_this_place():
    faulthandler._sigsegv()

at_this_place()
"""


def crash(*arguments: str, redirect: str = "") -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'"$@" {redirect}', "sh", sys.executable, "-c", CRASH, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_crash_names_its_place_on_standard_error() -> None:
    found = crash()
    assert found.stdout == "works\n" and found.returncode
    assert "Segmentation fault" in found.stderr and "in at_this_place" in found.stderr


def test_a_crash_names_its_place_in_a_file(tmp_path: Path) -> None:
    found = crash(str(tmp_path / "crash"))
    assert "at_this_place" not in found.stderr
    assert "in at_this_place" in (tmp_path / "crash").read_text()


def test_a_process_without_standard_error_works() -> None:
    found = crash(redirect="2>&-")
    assert found.stdout == "works\n" and found.returncode in (-11, 139)
