"""The memory of a process that runs studies or encodes corpora itself, as a notebook does."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

AROUND = """
import sys
from pathlib import Path

import poolwise
from poolwise.freed_memory import release_freed_memory

def own_memory():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

{work}
after = own_memory()
release_freed_memory()
print(after - own_memory())
"""
STUDY = """
changes = ["designs=[last+causal]", "reference=last+causal", "seeds=[0]", "anchors=[]", "comparisons=[reference]"]
changes += ["train.steps=2", "train.batch_size=8", "data.max_rows=100", "max_items=20"]
poolwise.run_study(poolwise.load_recipe(sys.argv[1], changes), "out", workers=1)
"""
CORPUS = """
Path("texts.txt").write_text("".join(f"{'word ' * (number % 60)}{number}" + chr(10) for number in range(600)))
model = poolwise.build_model("mean+causal", "poolwise/nano")
poolwise.encode_corpus(model, "texts.txt", "out")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library keeps no freed memory")
@pytest.mark.parametrize("work", [STUDY, CORPUS], ids=["a study", "a corpus"])
def test_what_was_freed_goes_back_to_the_system(work: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", AROUND.format(work=work), str(ROOT / "recipes" / "quickstart.yaml")]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert float(found.stdout.splitlines()[-1]) < 20  # MiB; the small study keeps 86 otherwise


ARENAS = """
import ctypes
import sys
import threading

import poolwise

together = threading.Barrier(40)

def allocate():
    together.wait()
    ctypes.CDLL(None).malloc(1000)

threads = [threading.Thread(target=allocate) for _ in range(40)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(b"arenas.xml", b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="the C library has no arenas")
@pytest.mark.parametrize(("given", "most"), [({}, max(2, os.cpu_count() or 2)), ({"MALLOC_ARENA_MAX": "3"}, 3)])
def test_threads_share_few_arenas(given: dict[str, str], most: int, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"} | given
    subprocess.run([sys.executable, "-c", ARENAS], check=True, cwd=tmp_path, env=env)
    assert (tmp_path / "arenas.xml").read_text().count("<heap nr=") <= most
