"""The program of one rank: joins the others, does the work, and sends progress and errors to ``rank_processes``.

Each event is one line of JSON on standard output.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from poolwise.crashes import tell_crashes
from poolwise.errors import explain
from poolwise.hangup import ignore_hangup
from poolwise.ranks import end_process, join_by_file, wait_for_all

Send = Callable[[dict[str, Any]], None]


def main() -> int:
    """Run one rank; arguments are the folder with the work, the rank, the number of ranks, and that of GPUs."""
    folder, rank, count, num_gpus = Path(sys.argv[1]), *map(int, sys.argv[2:])
    tell_crashes(folder / f"crash-{rank}")
    send = _open_channel()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, _interrupt)
    ignore_hangup()
    _quieten(send, is_first=rank == 0)
    try:
        work = pickle.loads((folder / "work.pickle").read_bytes())
        join_by_file(folder / "ranks", rank, count, num_gpus)
        work(lambda done, total, detail: send({"report": [done, total, detail]}) if rank == 0 else None)
        wait_for_all()
    except KeyboardInterrupt:
        send({"interrupted": True})
        return 130
    except Exception as error:
        if known := explain(error):
            parts = {"kind": type(known).__name__, "got": known.got, "wanted": known.wanted, "hint": known.hint}
            send({"known": parts})
            return 2
        send({"unknown": traceback.format_exc()})
        return 1
    return 0


def _open_channel() -> Send:
    """Return a function that sends an event; what libraries print goes to standard error from here on."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def send(event: dict[str, Any]) -> None:
        with lock:
            channel.write(json.dumps(event) + "\n")
            channel.flush()

    return send


def _end_with_parent() -> None:
    # Nothing is ever written to standard input: it ends when the process that started this one ends.
    os.read(0, 1)
    os._exit(1)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt("SIGTERM")


def _quieten(send: Send, *, is_first: bool) -> None:
    """Send rank 0's warnings to the process that started it, and drop the other ranks' and those of libraries."""
    warnings.simplefilter("ignore")
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    ours = logging.getLogger("poolwise")
    ours.propagate = False
    ours.setLevel(logging.WARNING if is_first else logging.ERROR)
    ours.handlers = [_Notes(send)]


class _Notes(logging.Handler):
    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send({"note": record.getMessage()})


if __name__ == "__main__":
    end_process(main())
