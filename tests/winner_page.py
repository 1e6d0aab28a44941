"""The page "use your winner": its blocks, in order, and what they say they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support import ROOT

PAGE = ROOT / "docs" / "how-to" / "use-your-winner.md"
FRAMEWORKS = ("langchain_huggingface", "llama_index", "haystack_integrations")


@dataclass(frozen=True)
class Block:
    """A block of the page: Python, or commands."""

    language: str
    code: str

    @property
    def framework(self) -> str:
        """The framework that a block imports; empty if none."""
        return next((name for name in FRAMEWORKS if name in self.code), "")

    @property
    def commands(self) -> list[list[str]]:
        """The arguments of each ``poolwise`` command."""
        return [shlex.split(line)[2:] for line in self.code.splitlines() if line.startswith("$ poolwise ")]

    @property
    def promised(self) -> str:
        """What the page says that a Python block prints."""
        return "\n".join(re.findall(r"^print\(.*\)  # (.*)$", self.code, flags=re.MULTILINE))


def blocks() -> list[Block]:
    """Return the blocks of the page, in order."""
    return [Block(*found) for found in re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)]


def run_python(code: str, folder: Path, *before: str) -> str:
    """Run Python in a process of its own and return what it prints."""
    found = subprocess.run(
        [sys.executable, "-c", "\n".join([*before, code])], capture_output=True, text=True, cwd=folder
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()
