"""What a worker needs, imported once by the process that workers are forked from; for ``set_forkserver_preload`` alone.

Importing this module freezes what is imported, for the collector: nothing else in poolwise imports it.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import threading

_MODULES = ("poolwise.training", "poolwise.study.jobs", "poolwise.screening.screen_jobs", "sklearn.linear_model")
"""Without mteb: it imports polars, whose threads do not outlive a fork."""
_WATCH_SECONDS = 0.1


def _import_all() -> None:
    """Import what workers need, unless the study ends first: nobody else would end this process before it is done."""
    done, study = threading.Event(), os.getppid()
    watcher = threading.Thread(target=_end_with, args=(study, done))
    watcher.start()
    # An interruption concerns the study; its own traceback is not wanted beside it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for module in _MODULES:
            importlib.import_module(module)
    finally:
        signal.signal(signal.SIGINT, before)
        done.set()
        watcher.join()  # a fork takes no threads along
    # What is imported stays: a collection does not walk it, and a fork does not copy it.
    gc.collect()
    gc.freeze()


def _end_with(study: int, done: threading.Event) -> None:
    while not done.wait(_WATCH_SECONDS):
        if os.getppid() != study:
            os._exit(0)


_import_all()
