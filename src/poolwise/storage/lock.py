"""The lock of an output folder: one process writes at a time, and the lock of a dead one counts no more."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from poolwise.errors import ConfigError

logger = logging.getLogger(__name__)
LOCK = ".lock"
"""Its file, which is deleted with the lock; after a kill it stays, and no longer counts."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which must exist. The system releases it when the process ends, however it ends.

    The text in the file only names the holder: a dead process holds nothing, even if its number is in use again. Two
    threads of one process exclude each other too. Without ``flock`` (Windows), nobody is excluded.

    Raises: ConfigError where another process holds it; the message names the process and its start.
    """
    with held(folder / LOCK, folder):
        yield


@contextmanager
def held(path: Path, folder: Path) -> Iterator[None]:
    """Hold a lock by its file, as ``locked`` does; ``folder`` is what the message names."""
    with _opened(path, folder) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {_start_of_process()}\n")
        file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def _opened(path: Path, folder: Path) -> IO[str]:
    """Return the file of a lock, which this process now holds."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return path.open("a+", encoding="utf-8")
    while True:
        file = _open_itself(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            with file:
                raise _in_use(folder, file.read().strip()) from error
        except OSError as error:  # some network file systems have no locks
            logger.warning("%s cannot be locked (%s): let only one process write there", folder, error.strerror)
            return file
        # The holder before may have deleted the file between its opening and its locking here.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _open_itself(path: Path) -> IO[str]:
    """Return a lock's file, open; one that is a link could lead to a file of the user, which would be emptied."""
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if path.is_symlink():
            raise ConfigError(f"{path} is a link", "wanted the file of a lock, or none", "delete the link") from error
        raise
    found = os.fstat(number)
    # A hard link to a file of the user would be emptied too.
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(number)
        raise ConfigError(f"{path} is no file of its own", "wanted the file of a lock, or none", "delete it")
    return os.fdopen(number, "a+", encoding="utf-8")


def _in_use(folder: Path, holder: str) -> ConfigError:
    return ConfigError(
        f"{folder} is in use by {holder or 'another process'}",
        "wanted one process at a time to write there",
        "wait for that process, or end it and run this command again: it resumes",
    )


def _start_of_process() -> str:
    import psutil

    start = datetime.datetime.fromtimestamp(psutil.Process().create_time(), datetime.UTC)
    return f"{start:%Y-%m-%d %H:%M:%S} UTC"
