"""Runs jobs in several processes.

On two cores with AMX, one process with two threads took 1.88 s for a training step of the embedded base; two processes
with one thread each took 2.1 s for one step each: small matrices do not fill a second core, a second model does.
"""

from __future__ import annotations

import gc
import logging
import logging.handlers
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, forkserver
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from poolwise.crashes import tell_crashes
from poolwise.errors import ConfigError
from poolwise.hangup import ignore_hangup
from poolwise.jobs.job import Job
from poolwise.jobs.rank_processes import free_gpu_memory
from poolwise.jobs.state import JobState, Report, RunJob, run_job
from poolwise.ranks import visible_gpus

MOST_WORKERS = 8
MEMORY_SHARE = 0.6
"""Share of the free memory that workers may use, as estimated."""
STOP_SECONDS = 60.0
"""Time for a worker to finish its step and write a checkpoint after the study is interrupted."""

_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""Settings of glibc, read when a process starts: freed memory is kept, not mapped and zeroed again for every
activation. Encoding with the embedded base, one thread: 260 texts/s without, 293 with."""

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd")

_LOGGER = logging.getLogger("poolwise")
logger = logging.getLogger(__name__)

OpenRun = Callable[[], RunJob]
"""Called once in each worker, before its first job. It is pickled, so it must be a function that workers can import,
with small arguments; the worker itself loads large data."""


def usable_cores() -> Sequence[int]:
    """Return the numbers of the cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)


def choose_workers(num_jobs: int, peak_memory_gib: float, processes: int = 1) -> int:
    """Return how many workers suit this machine: one per GPU, else one per core if memory allows.

    Args:
        peak_memory_gib: of one process.
        processes: how many processes train together in one job.
    """
    import psutil

    if gpus := visible_gpus():
        return max(1, min(len(gpus) // processes, num_jobs))
    free = psutil.virtual_memory().available / 2**30 * MEMORY_SHARE
    most = min(len(usable_cores()), int(free / peak_memory_gib), MOST_WORKERS) // processes
    return max(1, min(most, num_jobs))


def share_gpus(gpus: Sequence[str], num_workers: int, processes: int = 1) -> list[str]:
    """Return the value of CUDA_VISIBLE_DEVICES for each worker; an empty list without GPUs.

    Workers beyond the number of GPUs share them in turn, unless each worker trains in several processes.

    Raises: ConfigError if workers times ``processes`` is more than the GPUs.
    """
    if not gpus:
        return []
    if processes == 1:
        return [gpus[worker % len(gpus)] for worker in range(num_workers)]
    if num_workers * processes > len(gpus):
        raise ConfigError(
            f"{num_workers} workers with {processes} training processes each, but {len(gpus)} GPUs",
            "wanted a GPU for each process",
            "lower --workers or train.processes",
        )
    return [",".join(gpus[worker * processes :][:processes]) for worker in range(num_workers)]


def wants_workers(workers: int | None) -> bool:
    """Return whether several workers are likely, as far as is known without torch; see ``choose_workers``."""
    if workers is not None:
        return workers > 1
    return len(usable_cores()) > 1 and not any(Path(path).exists() for path in _GPU_DEVICES)


def prepare_workers(preload: Sequence[str] = ()) -> Any:
    """Return the multiprocessing context that workers are started in. Where forking is safe, a process starts to import
    what workers need, in parallel with the caller.

    Two workers that imported everything themselves started one after the other, in 14 s on two cores.

    Args:
        preload: modules to import in that process; importing them may have side effects that workers must avoid.
    """
    if sys.platform != "linux":  # on other systems, a fork after imports is not safe
        return multiprocessing.get_context("spawn")
    os.environ |= _ALLOCATOR | dict(os.environ)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    forkserver.ensure_running()
    return context


class Processes:
    """Runs ``num_slots`` jobs at a time, each in a process that is kept for the next job of its slot.

    If a process is killed, its job is tried once more in a new one; the others do not notice. If an exception leaves
    the context, it asks the processes to end (training first writes a checkpoint), and kills those still running after
    ``STOP_SECONDS``.

    Args:
        open_run: see ``OpenRun``.
        out: the folder that stores the states of jobs.
        preload: see ``prepare_workers``.
        gpus: CUDA_VISIBLE_DEVICES of each process, from ``share_gpus``; empty to leave it as it is.
    """

    def __init__(
        self,
        open_run: OpenRun,
        out: Path,
        num_slots: int,
        preload: Sequence[str] = (),
        gpus: Sequence[str] = (),
    ) -> None:
        self.num_slots = num_slots
        if gpus:
            free_gpu_memory()
        self._context = prepare_workers(preload)
        threads = max(1, len(usable_cores()) // num_slots)
        self._arguments = (open_run, out, threads, _LOGGER.getEffectiveLevel())
        self._visible: Sequence[str | None] = gpus or [None] * num_slots
        self._reports: dict[str, Report] = {}
        self._noted: set[str] = set()
        self._lock = threading.Lock()
        self._free = list(reversed(range(num_slots)))
        self._slots: dict[int, _Slot] = {}
        self._is_ending = False

    def submit(self, job: Job, report: Report) -> Future[JobState]:
        """Start a job in a free process."""
        self._reports[job.id] = report
        told: Future[JobState] = Future()
        with self._lock:
            place = self._free.pop()
        self._start(place, job, told, is_last=False)
        return told

    def _start(self, place: int, job: Job, told: Future[JobState], *, is_last: bool) -> None:
        if place not in self._slots:
            self._slots[place] = self._open(place)

        def tell(ended: Future[JobState]) -> None:
            try:
                state = ended.result()
            except BrokenProcessPool:
                # In a thread of its own: the pool may hold a lock here that its shutdown needs (Python 3.14 does).
                threading.Thread(target=self._replace, args=(place, job, told, is_last), daemon=True).start()
            except BaseException as error:
                told.set_exception(error)
            else:
                self._settle(place, state, told)

        try:
            running = self._slots[place].pool.submit(_run_in_worker, job)
        except BrokenProcessPool:  # killed while it had no job
            self._slots[place] = self._open(place)
            running = self._slots[place].pool.submit(_run_in_worker, job)
        running.add_done_callback(tell)

    def _replace(self, place: int, job: Job, told: Future[JobState], is_last: bool) -> None:
        """Give up a process that was killed, and try its job once more in a new one."""
        self._slots.pop(place).leave()
        if not is_last and not self._is_ending:
            logger.warning("%s: its worker process was killed (out of memory?); it is tried again", job.label)
            try:
                self._start(place, job, told, is_last=True)
            except BaseException as failure:
                told.set_exception(failure)  # else the study would wait for ever
            return
        # The system kills a process that uses too much memory without a message.
        hint = "lower --workers, eval.batch_size or train.mini_batch_size"
        message = f"its worker process was killed (out of memory?), twice; {hint}"
        self._settle(place, JobState(status="failed", seconds=0, error=message), told)

    def _settle(self, place: int, state: JobState, told: Future[JobState]) -> None:
        with self._lock:
            self._free.append(place)
        told.set_result(state)

    def _open(self, place: int) -> _Slot:
        return _Slot(self._context, self._arguments, self._visible[place], self._hear)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_ending = True
        if error is not None:
            # Do not wait for queues from here on: a killed process may hold the lock of one.
            _end_workers()
        for slot in list(self._slots.values()):
            slot.pool.shutdown(wait=error is None, cancel_futures=True)
            if error is None:
                slot.end()

    def _hear(self, event: Any) -> None:
        if isinstance(event, logging.LogRecord):
            self._note(event)
            return
        job_id, done, total, detail = event
        self._reports[job_id](done, total, detail)

    def _note(self, record: logging.LogRecord) -> None:
        """Log what a worker has to say; each worker loads the same inputs, and says the same of them."""
        if (message := record.getMessage()) not in self._noted:
            self._noted.add(message)
            logging.getLogger(record.name).handle(record)


class _Slot:
    """One process and what it sends. Each has a queue of its own: a killed one may hold the lock of its queue."""

    def __init__(
        self, context: Any, arguments: tuple[Any, ...], visible: str | None, hear: Callable[[Any], None]
    ) -> None:
        self._events = context.SimpleQueue()
        self._hear = hear
        self.pool = ProcessPoolExecutor(1, context, initializer=_start, initargs=(*arguments, self._events, visible))
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        while (event := self._events.get()) is not None:
            self._hear(event)

    def end(self) -> None:
        """Wait until everything that the process sent is heard."""
        self._events.put(None)
        self._listener.join()

    def leave(self) -> None:
        """Give up a process that was killed; its listener ends with this process."""
        self.pool.shutdown(wait=False)


def _end_workers() -> None:
    """Ask the workers to end (training first writes a checkpoint); kill those still running after a minute."""
    processes = multiprocessing.active_children()
    for process in processes:
        process.terminate()
    latest = time.monotonic() + STOP_SECONDS
    try:
        for process in processes:
            process.join(max(0.0, latest - time.monotonic()))
    finally:  # a second Ctrl-C does not wait
        for process in processes:
            process.kill()
            process.join()


class _Worker:
    """The state that one worker process keeps between jobs."""

    def __init__(self, open_run: OpenRun, out: Path, events: Any) -> None:
        self.out, self.events, self._open = out, events, open_run
        self._run: RunJob | None = None

    def run(self, job: Job, report: Report) -> None:
        # Opened with the first job, so that an error is reported for that job and does not end the process silently.
        self._run = self._run or self._open()
        self._run(job, report)


_worker: _Worker | None = None


class _ToStudy(logging.handlers.QueueHandler):
    """Sends what a worker logs to the process of the study, which alone talks to the user."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.put(record)  # type: ignore[attr-defined]  # a SimpleQueue has no put_nowait


def _start(open_run: OpenRun, out: Path, threads: int, log_level: int, events: Any, visible: str | None) -> None:
    global _worker
    tell_crashes()
    # A Ctrl-C or its end reaches every process of a terminal; the study then tells its workers, once, by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ignore_hangup()
    # Before anything uses CUDA, which reads this once.
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    import torch

    _LOGGER.handlers, _LOGGER.propagate = [_ToStudy(events)], False
    _LOGGER.setLevel(log_level)
    _worker = _Worker(open_run, out, events)
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)


def end_with_parent() -> None:
    """Wait for the process that started this one to end, and then end this one; run it in a thread."""
    # A worker that survives a killed study would write into the folders of the resumed study.
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _run_in_worker(job: Job) -> JobState:
    assert _worker is not None
    events = _worker.events
    # The trainer collects garbage several times; visiting all imported objects takes 0.4 s each time.
    gc.collect()
    gc.freeze()
    return run_job(job, _worker.run, _worker.out, lambda done, total, detail: events.put((job.id, done, total, detail)))
