"""The command line as the end-to-end tests use it: a subprocess in an empty folder, and a toy recipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

import toys
from forked_commands import run_forked

POOLWISE = [sys.executable, "-m", "poolwise.cli.main"]
PYTHONPATH = os.environ.get("PYTHONPATH")
"""As it is before a test changes it."""


def poolwise(*args: str | Path, cwd: Path, code: int = 0, offline: str = "1") -> subprocess.CompletedProcess[str]:
    env = os.environ | {"HF_HUB_OFFLINE": offline, "OMP_NUM_THREADS": "1"}
    if (offline, os.environ.get("PYTHONPATH")) == (os.environ["HF_HUB_OFFLINE"], PYTHONPATH):
        found = run_forked([*map(str, args)], cwd=cwd, env=env)
    else:  # which are read before or while libraries are imported
        command = [*POOLWISE, *map(str, args)]
        found = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=600)
    assert found.returncode == code, f"exit {found.returncode}\n{found.stdout}\n{found.stderr}"
    return found


def write_recipe(folder: Path, **changes: Any) -> Path:
    toys.write_training(folder / "train.jsonl")
    toys.write_suite(folder / "suite")
    recipe = {
        "name": "toy",
        "base": "poolwise/nano",
        "designs": ["paper:1", "paper:5", "mean+causal"],
        "reference": "paper:1",
        "seeds": [0, 1],
        "data": {"train": ["train.jsonl"]},
        "train": {"steps": 2, "batch_size": 8, "max_tokens": 24},
        "eval": {"max_tokens": 24},
        "tasks": ["suite"],
    }
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(recipe | changes))
    return path
