"""One process writes a folder at a time; the lock of a dead one counts no more."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from poolwise.errors import ConfigError
from poolwise.storage.lock import LOCK, locked


def hold(folder: Path) -> None:
    with locked(folder):
        (folder / "held").touch()
        time.sleep(60)


def test_a_second_process_is_refused_and_a_dead_one_is_not(tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path,))
    child.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    named = rf"is in use by process {child.pid} on {re.escape(socket.gethostname())}, since 20\d\d-\d\d-\d\d .* UTC;"
    with pytest.raises(ConfigError, match=named), locked(tmp_path):
        pass
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    assert f"process {child.pid}" in (tmp_path / LOCK).read_text()
    with locked(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / LOCK).read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["held"]


def test_a_lock_left_by_a_process_whose_number_is_in_use_again_counts_no_more(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(f"process {os.getppid()} on {socket.gethostname()}, since 2020-01-01 00:00:00 UTC\n")
    with locked(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / LOCK).read_text()


def test_a_second_thread_is_refused_and_the_first_to_free_it_frees_it(tmp_path: Path) -> None:
    refused = []

    def attempt() -> None:
        try:
            with locked(tmp_path):
                pass
        except ConfigError:
            refused.append(True)

    with locked(tmp_path):
        for _ in range(2):  # a refused attempt must not free the lock of the first
            thread = threading.Thread(target=attempt)
            thread.start()
            thread.join()
    with locked(tmp_path):
        pass
    assert refused == [True, True]


def test_of_many_that_begin_at_once_one_at_a_time_holds_it(tmp_path: Path) -> None:
    """The file is deleted with each lock, so another may have opened the deleted one: it must not count."""
    inside, most, entered = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, entered
        for _ in range(200):
            try:
                with locked(tmp_path):
                    inside += 1
                    most = max(most, inside)
                    entered += 1
                    time.sleep(0)
                    inside -= 1
            except ConfigError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and entered >= 4


@pytest.mark.parametrize("kind", ["hard link", "pipe"])
def test_what_is_no_file_of_a_lock_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("kept")
    if kind == "pipe":
        os.mkfifo(tmp_path / ".lock")
    else:
        (tmp_path / ".lock").hardlink_to(precious)
    with pytest.raises(ConfigError, match=r"\.lock is no file of its own"), locked(tmp_path):
        pass
    assert precious.read_text() == "kept"


def test_a_link_in_the_place_of_a_lock_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("kept")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").symlink_to("../precious.txt")
    with pytest.raises(ConfigError, match=r"\.lock is a link; wanted the file of a lock"), locked(tmp_path / "out"):
        pass
    assert (tmp_path / "precious.txt").read_text() == "kept"
