"""A terminal that is closed while a command runs: SIGHUP ends the command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import stat

HANGUP: tuple[signal.Signals, ...] = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()
"""SIGHUP, where the system has it."""


def ignore_hangup() -> None:
    """Ignore SIGHUP in a process whose parent gets it too, and then tells it what to do."""
    for number in HANGUP:
        signal.signal(number, signal.SIG_IGN)


def leave_terminal() -> None:
    """Send what is printed from here on nowhere, if it went to a terminal: writing to a closed one is an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            # A closed terminal is none any more to ``isatty``.
            if stat.S_ISCHR(os.fstat(number).st_mode):
                os.dup2(nowhere, number)
    finally:
        os.close(nowhere)
