"""The lock of a corpus folder: one process writes at a time, and the lock of a dead one counts no more."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poolwise.errors import ConfigError

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. The system releases it when the process ends, however it ends.

    Raises: ConfigError where another process holds it; the message names the process.
    """
    import fcntl

    # Never deleted: a process that waits on a deleted file would not exclude one that makes it again.
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise ConfigError(
                f"{folder} is in use by {file.read().strip() or 'another process'}",
                "wanted a folder that one process writes at a time",
                "wait for that process, or end it: the command then resumes",
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
        file.truncate(0)
