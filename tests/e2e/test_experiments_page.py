"""Every block of the page on experiments runs, in order; the server is started on a free port."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tiny_models
from command_line import POOLWISE
from poolwise.models import build_model
from support import ROOT

PAGE = (ROOT / "docs" / "how-to" / "experiments.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ENV = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
pytest.importorskip("fastapi", reason="needs the extra serve: pip install 'poolwise[serve]'")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run(command: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=place, env=ENV, capture_output=True, text=True, timeout=300)


@contextmanager
def serving(arguments: list[str], place: Path, port: int) -> Iterator[None]:
    """Run a command that serves until the block ends."""
    command = [*POOLWISE, *arguments, "--port", str(port)]
    with (place / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=place, env=ENV, stderr=log)
        try:
            deadline = time.monotonic() + 120
            while True:
                assert process.poll() is None and time.monotonic() < deadline, (place / "server.log").read_text()
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.2)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0


@pytest.mark.slow
def test_every_block_runs(tmp_path: Path) -> None:
    base = tiny_models.save_tiny_base(tmp_path / "base", "llama")
    for name, design in (("a", "last+causal"), ("b", "mean+bidirectional")):
        model = build_model(design, base, max_tokens=16, precision="fp32", prompts={"query": "q : ", "document": ""})
        model.save(str(tmp_path / "runs" / name))
    port, server, kinds, printed = free_port(), None, [], ""
    for kind, text in BLOCKS:
        kinds.append(kind)
        if kind == "yaml":
            (tmp_path / "ab.yaml").write_text(text)
        elif kind == "console" and "poolwise serve" in text:
            server = shlex.split(text)[2:]
        elif kind == "console":
            for line in text.splitlines():
                done = run([*POOLWISE, *shlex.split(line)[2:]], tmp_path)
                assert done.returncode == 0, done.stderr
                printed = done.stdout
        elif kind == "python":
            code = [sys.executable, "-c", text.replace("localhost:8000", f"localhost:{port}")]
            if "httpx" in text:
                assert server is not None
                with serving(server, tmp_path, port):
                    done = run(code, tmp_path)
            else:
                done = run(code, tmp_path)
            assert done.returncode == 0, done.stderr
            assert all(promise in done.stdout for promise in re.findall(r"print\(.*\)  # (.*)", text))
        elif kind == "text":
            assert text.strip() in printed
    assert kinds == ["yaml", "console", "console", "python", "python", "console", "console", "text"]
    assert (tmp_path / "elsewhere.html").is_file()
