"""Evaluating leaves the process and the disk as they were."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from poolwise.encoding.encoder import RandomEncoder
from poolwise.tasks import evaluate_task, load_tasks
from poolwise.tasks.bridge import isolated
from unit.tasks.tiny import write_suite

SCRIPT = """
import sys
from poolwise.encoding.encoder import RandomEncoder
from poolwise.tasks import evaluate_task, load_tasks
for task in load_tasks([sys.argv[1]]):
    evaluate_task(task, RandomEncoder())
"""


def test_random_states_logs_and_bars_are_left_as_found(tmp_path: Path) -> None:
    (task,) = load_tasks([str(write_suite(tmp_path) / "sts")])
    torch.manual_seed(7)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    level = logging.getLogger("mteb").level
    evaluate_task(task, RandomEncoder())
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert logging.getLogger("mteb").level == level
    assert not datasets.are_progress_bars_disabled()


def test_they_are_put_back_after_an_error_too() -> None:
    torch.manual_seed(7)
    before = random.getstate(), torch.get_rng_state().tolist()
    with pytest.raises(KeyError), isolated():
        random.random()
        torch.rand(1)
        raise KeyError
    assert before == (random.getstate(), torch.get_rng_state().tolist())
    assert not datasets.are_progress_bars_disabled()


@pytest.mark.slow
def test_nothing_is_printed_and_nothing_is_written(tmp_path: Path) -> None:
    suite, home, here = write_suite(tmp_path / "suite"), tmp_path / "home", tmp_path / "here"
    home.mkdir(), here.mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "XDG_", "MTEB_"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(suite)],
        env={**kept, "HOME": str(home)},
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path for folder in (home, here) for path in folder.rglob("*") if path.is_file()] == []
