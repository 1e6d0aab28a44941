"""``poolwise encode``: the page's blocks as they stand, and an interruption."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import POOLWISE, poolwise
from poolwise import build_model
from support import ROOT

PAGE = (ROOT / "docs" / "how-to" / "encode-a-corpus.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_every_block_of_the_page_runs(tmp_path: Path) -> None:
    (rows,) = [text for kind, text in BLOCKS if kind == "jsonl"]
    (tmp_path / "corpus.jsonl").write_text(rows)
    (told,) = [text for kind, text in BLOCKS if kind == ""]
    printed = []
    for kind, text in BLOCKS:
        if kind == "console":
            for line in text.splitlines():
                program, *arguments = shlex.split(line.removeprefix("$ "))
                assert program == "poolwise"
                printed.append(poolwise(*arguments, cwd=tmp_path).stdout)
        elif kind == "python":
            found = subprocess.run(
                [sys.executable, "-c", text], capture_output=True, text=True, cwd=tmp_path, check=True
            )
            (promised,) = re.findall(r"print\(.*\)  # (.*)", text)
            assert found.stdout.strip() == promised
    assert printed[1] == told
    assert "set aside" in printed[2]


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_names_the_command_that_resumes(tmp_path: Path, processes: str) -> None:
    build_model("mean+causal", "poolwise/nano").save(str(tmp_path / "run"))
    lines = [json.dumps({"_id": n, "text": f"text {n} " + "of many words " * 20}) for n in range(600)]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    asked = ["encode", "run", "c.jsonl", "--out", "out", "--shard-rows", "20", "--processes", processes]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [*POOLWISE, *asked],
        cwd=tmp_path,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What a shell starts in the background, such as this test run, ignores SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not list((tmp_path / "out" / "work").glob("*.json")):
        assert running.poll() is None, running.stderr.read() if running.stderr else ""
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does, which tells all its processes
    _, told = running.communicate(timeout=120)
    assert running.returncode == 130
    assert f"resume with: poolwise {shlex.join(asked)}" in told
    assert "stopped by Ctrl-C" in told
    done = json.loads(poolwise(*asked, "--json", cwd=tmp_path).stdout)
    assert done["rows"] == 600 and 0 < done["kept"] < 600
