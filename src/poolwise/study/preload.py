"""Imports what workers need, once, in the process that workers are forked from; only for ``set_forkserver_preload``.

Importing this module freezes all imported objects for the garbage collector, so nothing else in poolwise imports it.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import threading

_MODULES = ("poolwise.training", "poolwise.study.jobs", "poolwise.screening.screen_jobs", "sklearn.linear_model")
"""Without mteb: it imports polars, whose threads do not survive a fork."""
_WATCH_SECONDS = 0.1


def _import_all() -> None:
    """Import what workers need, but exit if the study ends first: nothing else would end this process before then."""
    done, study = threading.Event(), os.getppid()
    watcher = threading.Thread(target=_end_with, args=(study, done))
    watcher.start()
    # Ctrl-C is handled by the study; this process should not print a traceback of its own.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for module in _MODULES:
            importlib.import_module(module)
    finally:
        signal.signal(signal.SIGINT, before)
        done.set()
        watcher.join()  # threads do not survive a fork
    # Imported objects stay: the collector need not visit them, and a fork need not copy their pages.
    gc.collect()
    gc.freeze()


def _end_with(study: int, done: threading.Event) -> None:
    while not done.wait(_WATCH_SECONDS):
        if os.getppid() != study:
            os._exit(0)


_import_all()
