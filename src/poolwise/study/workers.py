"""Runs the jobs of a plan in several processes.

One process with two threads trained a step of the embedded base in 1.88 s; two processes with one thread each took
2.1 s for a step of both (two cores, AMX): small matrices do not fill a second core, a second model does.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any

from poolwise.study.executor import JobState, Work, blocked, is_done, run_job, settle
from poolwise.study.plan import Job
from poolwise.study.progress import Progress
from poolwise.study.provenance import usable_cores

MOST_WORKERS = 8
MEMORY_SHARE = 0.6
"""Share of the free memory that workers may be expected to fill."""
STOP_SECONDS = 60.0
"""As long as a worker may take to finish its step and write a checkpoint once the study is interrupted."""

_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""For glibc, read when a process starts: memory once had is kept, instead of being mapped and zeroed for every
activation. Encoding with the embedded base, one thread: 260 texts/s without, 293 with."""

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd")

_work: Work | None = None
_events: Any = None


def choose_workers(num_jobs: int, peak_memory_gib: float) -> int:
    """Return how many processes pay on this machine: one on a GPU, else one a core as far as memory goes."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return 1
    free = psutil.virtual_memory().available / 2**30 * MEMORY_SHARE
    return max(1, min(len(usable_cores()), int(free / peak_memory_gib), num_jobs, MOST_WORKERS))


def wants_workers(workers: int | None) -> bool:
    """Return whether jobs will probably be shared, as far as can be told without torch; see ``choose_workers``."""
    if workers is not None:
        return workers > 1
    return len(usable_cores()) > 1 and not any(Path(path).exists() for path in _GPU_DEVICES)


def prepare_workers() -> Any:
    """Return the context that workers are started in. Where they can be forked, a process begins to import what they
    need, beside whatever the caller does next.

    Two workers that import for themselves started one after the other, 14 s in all on two cores.
    """
    if sys.platform != "linux":  # elsewhere a fork after imports is not safe
        return multiprocessing.get_context("spawn")
    os.environ |= _ALLOCATOR | dict(os.environ)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["poolwise.study.preload"])
    forkserver.ensure_running()
    return context


def execute_parallel(work: Work, progress: Progress, num_workers: int) -> dict[str, str]:
    """Run every job that is not done yet in ``num_workers`` processes; see ``execute`` for what is promised."""
    context = prepare_workers()
    events = context.SimpleQueue()
    listener = threading.Thread(target=_listen, args=(events, work.jobs, progress), daemon=True)
    listener.start()
    pool = _Pool(num_workers, context, (work, events, max(1, len(usable_cores()) // num_workers)))
    try:
        failures = _drive(work, progress, pool, num_workers)
    except BaseException:
        # Nobody waits for queues any more: a process that is ended may hold the lock of one.
        _end_workers()
        pool.executor.shutdown(wait=False, cancel_futures=True)
        raise
    pool.executor.shutdown()
    events.put(None)
    listener.join()
    return failures


def _end_workers() -> None:
    """Ask the workers to end, which a training does after a checkpoint; end those that have not in a minute."""
    processes = multiprocessing.active_children()
    for process in processes:
        process.terminate()
    latest = time.monotonic() + STOP_SECONDS
    try:
        for process in processes:
            process.join(max(0.0, latest - time.monotonic()))
    finally:  # a second interruption does not wait
        for process in processes:
            process.kill()
            process.join()


class _Pool:
    """A process pool that is made anew after one of its processes was killed."""

    def __init__(self, num_workers: int, context: Any, arguments: tuple[Any, ...]) -> None:
        self._make = lambda: ProcessPoolExecutor(num_workers, context, initializer=_start, initargs=arguments)
        self.executor = self._make()

    def submit(self, job: Job) -> Future[JobState]:
        try:
            return self.executor.submit(_run_in_worker, job)
        except BrokenProcessPool:
            self.executor = self._make()
            return self.executor.submit(_run_in_worker, job)


def _drive(work: Work, progress: Progress, pool: _Pool, num_workers: int) -> dict[str, str]:
    failures: dict[str, str] = {}
    waiting = [job for job in work.jobs if not is_done(work.out, job)]
    running: dict[Future[JobState], Job] = {}
    while waiting or running:
        # A job that waits for a running one stays; one whose need failed is settled here.
        pending = {job.id for job in (*waiting, *running.values())}
        for job in [job for job in waiting if not pending.intersection(job.needs)]:
            if reason := blocked(job, work):
                failures[job.label] = reason
                waiting.remove(job)
            elif len(running) < num_workers:
                waiting.remove(job)
                progress.job_started(job)
                running[pool.submit(job)] = job
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            settle(running.pop(future), _result(future), progress, failures)
    return failures


def _result(future: Future[JobState]) -> JobState:
    try:
        return future.result()
    except BrokenProcessPool:
        # The system ends a process that asks for too much memory without a word.
        hint = "lower --workers, eval.batch_size or train.mini_batch_size"
        return JobState(status="failed", seconds=0, error=f"the worker process was killed (out of memory?); {hint}")


def _listen(events: Any, jobs: Sequence[Job], progress: Progress) -> None:
    by_id = {job.id: job for job in jobs}
    while (event := events.get()) is not None:
        job_id, done, total, detail = event
        progress.job_advanced(by_id[job_id], done, total, detail)


def _start(work: Work, events: Any, threads: int) -> None:
    global _work, _events
    import torch

    _work, _events = work, events
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    # A worker that outlived a killed study would write into the folders of the study that resumes it.
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _run_in_worker(job: Job) -> JobState:
    assert _work is not None
    # A trainer collects garbage several times a training; walking all that was imported takes 0.4 s each time.
    gc.collect()
    gc.freeze()
    return run_job(job, _work, lambda done, total, detail: _events.put((job.id, done, total, detail)))
