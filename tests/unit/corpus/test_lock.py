"""One process writes a folder at a time; the lock of a dead one counts no more."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from poolwise.corpus.lock import LOCK, locked
from poolwise.errors import ConfigError


def hold(folder: Path) -> None:
    with locked(folder):
        (folder / "held").touch()
        time.sleep(60)


def test_a_second_process_is_refused_and_a_dead_one_is_not(tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path,))
    child.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with pytest.raises(ConfigError, match=rf"is in use by process {child.pid} on "), locked(tmp_path):
        pass
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    assert f"process {child.pid}" in (tmp_path / LOCK).read_text()
    with locked(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / LOCK).read_text()
