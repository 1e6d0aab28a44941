"""Pages of the documentation whose blocks run in order, in one folder, as a reader would run them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from command_line import POOLWISE
from serving_process import Serving, serving

ENV = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
PORT = 8000
"""The port that the pages name."""


@dataclass(frozen=True)
class Block:
    """A block of a page: its language, the file that it is saved as, and its text."""

    language: str
    title: str
    text: str


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found = re.findall(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [Block(*parts) for parts in found]


class Reader:
    """Runs the blocks of a page in a folder; a command that serves goes on until the next one, or the end.

    Args:
        seconds: that a command may take.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.printed = ""
        self._port = free_port()
        self._server: Serving | None = None
        self._held = ExitStack()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def run(self, block: Block) -> None:
        """Do with a block what its reader does: save it, run it, or compare it with what was printed last."""
        if block.title:
            (self.folder / block.title).write_text(block.text)
        elif block.language == "console":
            for line in block.text.splitlines():
                self._command(line.removeprefix("$ "))
        elif block.language == "python":
            code = block.text.replace(f"localhost:{PORT}", f"localhost:{self._port}")
            self._run([sys.executable, "-c", code])
            promised = re.findall(r"print\(.*\)  # (.*)", block.text)
            assert [line for line in promised if line not in self.printed] == []
        elif block.language == "text":
            assert block.text.strip() in self.printed
        else:
            raise AssertionError(f"a block that nobody runs: {block}")

    def _command(self, line: str) -> None:
        if line.startswith("poolwise serve"):
            self.stop_serving()
            arguments = shlex.split(line)[2:]
            self._server = self._held.enter_context(serving(*arguments, port=self._port, cwd=self.folder))
            return
        words = [name for word in shlex.split(line) for name in (self._matching(word) if "*" in word else [word])]
        self._run([*POOLWISE, *words[1:]] if words[0] == "poolwise" else words)

    def _matching(self, pattern: str) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.glob(pattern))

    def stop_serving(self) -> None:
        """Stop the server that runs, as Ctrl-C does."""
        if self._server is not None:
            assert self._server.stop(signal.SIGINT) == 0
            self._server = None

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, cwd=self.folder, env=ENV, capture_output=True, text=True, timeout=self.seconds, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        self.printed = done.stdout


def free_port() -> int:
    """Return a port that nobody uses at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
