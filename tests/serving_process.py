"""A ``poolwise serve`` in a process of its own."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from command_line import POOLWISE

START_SECONDS = 300
"""On a machine that is busy."""


class Serving:
    """A server: its address, its process, and the lines of its log."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self._new: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = str(self.wait_for("serving")["url"])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            try:
                line = json.loads(text)
            except ValueError:
                line = {"event": "not JSON", "text": text}
            self.lines.append(line)
            self._new.put(line)
        self._new.put({"event": "ended"})

    def wait_for(self, event: str) -> dict[str, Any]:
        """Return the next line of the log with an event."""
        while (line := self._new.get(timeout=START_SECONDS))["event"] != event:
            assert line["event"] != "ended", self.lines
        return line

    def stop(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(START_SECONDS)
        self._reader.join(START_SECONDS)
        return code


@contextmanager
def serving(*args: str | Path, port: int = 0, cwd: Path | None = None, **variables: str) -> Iterator[Serving]:
    """Start a server, on a free port unless one is given, and yield it once it listens."""
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"} | variables
    command = [*POOLWISE, "serve", *map(str, args), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env, cwd=cwd)
    try:
        yield Serving(process)
    finally:
        process.kill()
        process.wait()
