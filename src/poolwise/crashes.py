"""What is left of a process that a library crashes: the place in the Python code, for a report."""

from __future__ import annotations

import contextlib
import faulthandler
from pathlib import Path


def tell_crashes(path: Path | None = None) -> None:
    """From now on, a crash of this process prints each thread's place on standard error, or in a file if one is named.

    Without standard error nothing is printed.
    """
    if path is not None:
        faulthandler.enable(path.open("w"))
        return
    with contextlib.suppress(OSError, RuntimeError):  # standard error is closed, or is not a file
        faulthandler.enable()
