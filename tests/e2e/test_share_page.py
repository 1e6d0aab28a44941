"""Every block of the page "Move and publish a model" runs, in order, against a hub on this machine."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import POOLWISE
from fake_hub import environment, running_hub
from support import ROOT

PAGE = (ROOT / "docs" / "how-to" / "share.md").read_text()
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROMISED = re.compile(r"print\(.*\)  # (.*)")


@pytest.mark.slow
def test_every_block_runs(tmp_path: Path) -> None:
    kinds = []
    with running_hub() as hub:
        env = os.environ | environment(hub, tmp_path) | {"OMP_NUM_THREADS": "1"}
        for kind, flags, text in _BLOCK.findall(PAGE):
            if kind == "text" or "no-run" in flags:  # an error's text, and paths that only a reader has
                continue
            kinds.append(kind)
            commands = [[sys.executable, "-c", text]] if kind == "python" else []
            commands += [[*POOLWISE, *shlex.split(line)[2:]] for line in text.splitlines() if kind == "console"]
            for command in commands:
                found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=600)
                assert found.returncode == 0, f"{command}\n{found.stdout}\n{found.stderr}"
                assert all(promise in found.stdout for promise in _PROMISED.findall(text))
        assert sorted(hub.files("alice/my-model")) and "base/model.safetensors" in hub.files("alice/my-model")
    assert kinds.count("console") == 2 and kinds.count("python") == 3
