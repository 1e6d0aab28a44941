"""The memory of a process that runs a study itself, as a notebook does."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

STUDY = """
import sys
from pathlib import Path

import poolwise
from poolwise.training.measure import release_freed_memory

def own_memory():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

changes = ["designs=[last+causal]", "reference=last+causal", "seeds=[0]", "anchors=[]", "comparisons=[reference]"]
changes += ["train.steps=2", "train.batch_size=8", "data.max_rows=100", "max_items=20"]
poolwise.run_study(poolwise.load_recipe(sys.argv[1], changes), sys.argv[2], workers=1)
after = own_memory()
release_freed_memory()
print(after - own_memory())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library keeps no freed memory")
def test_what_a_study_freed_goes_back_to_the_system(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STUDY, str(ROOT / "recipes" / "quickstart.yaml"), str(tmp_path / "out")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(found.stdout.splitlines()[-1]) < 20  # MiB; this small study keeps 86 otherwise
