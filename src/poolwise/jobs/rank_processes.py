"""Starts the processes of one training, follows them to their end, and leaves none behind."""

from __future__ import annotations

import gc
import json
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolwise import errors
from poolwise.errors import ModelError, PoolwiseError
from poolwise.jobs.state import Report
from poolwise.ranks import visible_gpus

if TYPE_CHECKING:
    from poolwise.training.interrupts import StopRequest

logger = logging.getLogger(__name__)

RankWork = Callable[[Report], object]
"""What every rank does; it is pickled, so it must be a function that other processes can import, with its arguments."""

STOP_SECONDS = 60.0
"""Time for the ranks to finish a step and write a checkpoint after an interruption."""
ERROR_SECONDS = 1.0
"""After a first error, others are awaited this long: a rank whose partner has failed reports a lost connection."""
_POLL_SECONDS = 0.1


def run_in_ranks(work: RankWork, count: int, report: Report, device: str | None = None) -> None:
    """Do ``work`` in ``count`` processes that have joined one another, and return when all have ended.

    Each process has a GPU of its own; on a CPU they share the threads of this process. Only rank 0's progress reaches
    ``report``. SIGINT and SIGTERM are passed on: the ranks write a checkpoint and end, then the signal is delivered.
    If a rank fails, the others are killed. If a rank is killed or crashes, the work is done once more in new processes:
    a training then goes on from its last checkpoint.

    Raises: the error of the rank that failed first, as its own class if it is a PoolwiseError; ModelError if a rank was
        killed twice; RuntimeError if it crashed twice, with the place.
    """
    gpus = [] if device == "cpu" else visible_gpus()
    if gpus:
        free_gpu_memory()
    group = _run_once(work, count, report, gpus)
    if group.has_lost_a_rank:
        logger.warning("%s; it is tried again, from the last checkpoint", group.error())
        group = _run_once(work, count, report, gpus)
    if error := group.error():
        raise error


def _run_once(work: RankWork, count: int, report: Report, gpus: list[str]) -> _Group:
    from poolwise.training.interrupts import StopRequest

    with tempfile.TemporaryDirectory(prefix="poolwise-") as name:
        folder = Path(name)
        (folder / "work.pickle").write_bytes(pickle.dumps(work))
        group = _Group(report)
        try:
            for rank in range(count):
                group.start(rank, folder, count, gpus)
            with StopRequest() as stop:
                group.follow(stop)
        finally:
            group.kill()
    return group


def free_gpu_memory() -> None:
    """Give back the memory of models that this process has used and dropped: another process needs it."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


class _Group:
    """The processes of one training."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._processes: list[subprocess.Popen[bytes]] = []
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._failures: list[dict[str, Any]] = []
        self._running = 0

    def start(self, rank: int, folder: Path, count: int, gpus: list[str]) -> None:
        command = [sys.executable, "-m", "poolwise.jobs.rank_entry", str(folder), str(rank), str(count), str(len(gpus))]
        # Standard input stays open while this process lives, so that no rank outlives it. A new session, because
        # Ctrl-C would reach the ranks at different steps.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(rank, count, gpus),
            start_new_session=True,
        )
        self._processes.append(process)
        self._running += 1
        threading.Thread(target=self._read, args=(rank, process, folder), daemon=True).start()

    def _read(self, rank: int, process: subprocess.Popen[bytes], folder: Path) -> None:
        assert process.stdout is not None
        is_explained = False
        for line in process.stdout:
            event = json.loads(line)
            is_explained |= not event.keys() & {"report", "note"}
            self._events.put(event)
        code = process.wait()
        if code and not is_explained:
            self._events.put(_how_it_ended(rank, code, folder))
        self._events.put(None)

    def follow(self, stop: StopRequest) -> None:
        """Pass on progress until all ranks have ended, or until it is time to kill them."""
        latest = float("inf")
        is_asked = False
        while self._running and time.monotonic() < latest:
            if stop.received is not None and not is_asked:
                is_asked, latest = True, min(latest, time.monotonic() + STOP_SECONDS)
                for process in self._processes:
                    process.terminate()
            try:
                event = self._events.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if event is None:
                self._running -= 1
            elif "report" in event:
                self._report(*event["report"])
            elif "note" in event:
                logger.warning("%s", event["note"])
            else:
                self._failures.append(event)
                # A rank whose partner has ended because of the signal fails, and others still write their checkpoint.
                if not (is_asked or "interrupted" in event):
                    latest = min(latest, time.monotonic() + ERROR_SECONDS)

    def kill(self) -> None:
        """Kill the ranks that still run."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            assert process.stdin is not None
            process.stdin.close()

    @property
    def has_lost_a_rank(self) -> bool:
        """Whether a rank was killed or crashed, and no error of another explains that."""
        kinds = {kind for event in self._failures for kind in event}
        return bool(kinds & {"killed", "crashed"}) and "known" not in kinds

    def error(self) -> BaseException | None:
        """Return the error that explains the others, KeyboardInterrupt if a rank was interrupted, or None."""
        if not self._failures:
            return None
        by_kind = {kind: event[kind] for event in reversed(self._failures) for kind in event}
        if known := by_kind.get("known"):
            return _rebuilt(known)
        if crashed := by_kind.get("crashed"):
            return RuntimeError(f"a training process crashed:\n{crashed}")
        if killed := by_kind.get("killed"):
            return ModelError(
                f"a training process was killed by signal {killed} (out of memory?)",
                hint="lower train.processes or train.mini_batch_size",
            )
        if unknown := by_kind.get("unknown"):
            return RuntimeError(f"a training process failed:\n{unknown}")
        return KeyboardInterrupt("SIGTERM")


def _how_it_ended(rank: int, code: int, folder: Path) -> dict[str, Any]:
    if code > 0:
        return {"unknown": f"rank {rank} ended with exit code {code}"}
    place = folder / f"crash-{rank}"  # missing if the process had not got so far
    if place.is_file() and (told := place.read_text()):
        return {"crashed": f"rank {rank}, {signal.Signals(-code).name}\n{told}"}
    return {"killed": -code}


def _environment(rank: int, count: int, gpus: list[str]) -> dict[str, str]:
    import torch

    threads = max(1, torch.get_num_threads() // count)
    # transformers would warn that ranks train together without its own way of doing it.
    found = {"TRANSFORMERS_VERBOSITY": "error", **os.environ, "OMP_NUM_THREADS": str(threads)}
    # What this process can import, a rank can: also what was added to sys.path by hand.
    found["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    if gpus:
        found["CUDA_VISIBLE_DEVICES"] = gpus[rank]
    return found


def _rebuilt(parts: Mapping[str, str]) -> PoolwiseError:
    kind: type[PoolwiseError] = getattr(errors, parts["kind"], PoolwiseError)
    return kind(parts["got"], parts["wanted"], parts["hint"])
