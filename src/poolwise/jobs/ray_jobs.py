"""Runs jobs on the workers of a Ray cluster, all of whose nodes see the folder of the study.

A worker keeps nothing that its driver needs: a finished job is in the shared folder, so a driver that dies and comes
back resumes. Ray ends the workers of a dead driver. Those that it cannot reach end themselves when another driver has
claimed the folder, so that two never write the same run.
"""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from poolwise.errors import ConfigError
from poolwise.jobs.job import Job
from poolwise.jobs.processes import OpenRun
from poolwise.jobs.ray_cluster import Cluster, Share
from poolwise.jobs.ray_pool import CheckWorker, Do, Ended, RayPool, Tell
from poolwise.jobs.state import JobState, Report, RunJob, run_job, state_path
from poolwise.records import save_record
from poolwise.storage.whole_files import write_text

CLAIM = "driver.claim"
"""The file in ``jobs/`` that names the driver which writes the study."""
WATCH_SECONDS = 1.0
SEEN_SECONDS = 10.0
"""How long a new file may take until another node sees it."""
ATTEMPTS = 2
_STEP_SECONDS = 0.2


class OnRay:
    """Runs ``num_slots`` jobs at a time. A job whose worker is lost is run once more, then it counts as failed.

    If an exception leaves the context, the workers are killed; a training then resumes from its last checkpoint.

    Args:
        open_run: see ``OpenRun``.
        out: the folder that stores the states of jobs; every node must see it under the same path.
        check: called in each worker after it has seen that folder; what it raises ends the study.
    """

    def __init__(
        self,
        open_run: OpenRun,
        out: Path,
        cluster: Cluster,
        share: Share,
        check: CheckWorker = lambda: None,
    ) -> None:
        self.num_slots = share.count
        self._out, self._token = out.resolve(), secrets.token_hex(8)
        checked = partial(_check, self._out, self._token, Path.cwd(), check)
        opened = partial(_open, open_run, self._out)
        self._make_pool: Callable[[], RayPool[Job]] = lambda: RayPool(
            cluster, share, opened, check=checked, attempts=ATTEMPTS, on_event=self._report
        )
        self._submitted: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._reports: dict[str, Report] = {}
        self._futures: dict[str, Future[JobState]] = {}
        self._failure: BaseException | None = None
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def submit(self, job: Job, report: Report) -> Future[JobState]:
        """Start a job on a free worker. The future raises ConfigError where a node cannot run jobs at all."""
        future: Future[JobState] = Future()
        with self._lock:
            if self._failure is not None:
                future.set_exception(self._failure)
                return future
            self._reports[job.id], self._futures[job.id] = report, future
        self._submitted.put(job)
        return future

    def __enter__(self) -> Self:
        claim(self._out, self._token)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        release(self._out, self._token)

    def _follow(self) -> None:
        """Use the pool, in a thread of its own, until the context ends or the pool fails."""
        try:
            pool = self._make_pool()
            try:
                while not self._is_over.is_set():
                    with contextlib.suppress(queue.Empty):
                        while True:
                            pool.submit(self._submitted.get_nowait())
                    for ended in pool.step(_STEP_SECONDS):
                        self._settle(ended)
            finally:
                pool.close()
        except BaseException as error:
            with self._lock:
                self._failure, open_futures = error, list(self._futures.values())
            for future in open_futures:
                future.set_exception(error)

    def _settle(self, ended: Ended[Job]) -> None:
        with self._lock:
            future = self._futures.pop(ended.item.id)
        if ended.error is not None:
            future.set_exception(ended.error)
            return
        if ended.lost is not None:
            hint = "lower --workers, eval.batch_size or train.mini_batch_size"
            error = f"{ATTEMPTS} workers were lost with it (out of memory?): {ended.lost}; {hint}"
            future.set_result(JobState(status="failed", seconds=0, error=error))
            return
        # On a network file system, this node may not see for a while what another one wrote.
        save_record(ended.result, state_path(self._out, ended.item))
        future.set_result(ended.result)

    def _report(self, event: object) -> None:
        assert isinstance(event, tuple)
        job_id, *progress = event
        self._reports[job_id](*progress)


def claim(out: Path, token: str) -> None:
    """Make this process the driver of a study, and wait until the workers of another have ended."""
    path = out / "jobs" / CLAIM
    was_claimed = path.exists()
    write_text(path, token)
    if was_claimed:
        time.sleep(3 * WATCH_SECONDS)


def release(out: Path, token: str) -> None:
    """Give a study up that this process is the driver of."""
    path = out / "jobs" / CLAIM
    with contextlib.suppress(OSError):
        if path.read_text() == token:
            path.unlink()


def require_shared(out: Path, token: str) -> None:
    """Raise ConfigError where this node does not see the folder that the driver claimed, or cannot write there."""
    path = out / "jobs" / CLAIM
    latest = time.monotonic() + SEEN_SECONDS
    while _read(path) != token:
        if time.monotonic() > latest:
            raise ConfigError(
                f"it does not see {out} as the driver does",
                "wanted an output folder that all nodes share under the same path, such as NFS, EFS or FSx",
                "give a folder on shared storage as --out",
            )
        time.sleep(0.2)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(f"it cannot write into {out}: {error.strerror}", hint="let its user write there") from error


def _check(out: Path, token: str, here: Path, check: CheckWorker) -> None:
    require_shared(out, token)
    threading.Thread(target=_end_when_replaced, args=(out / "jobs" / CLAIM, token), daemon=True).start()
    if here.is_dir():  # so that relative paths of a recipe mean the same
        os.chdir(here)
    check()


def _end_when_replaced(path: Path, token: str) -> None:
    """End this process once another driver has claimed the study."""
    while _read(path) in (token, None):
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _open(open_run: OpenRun, out: Path) -> Do:
    return partial(_run, open_run(), out)


def _run(run: RunJob, out: Path, job: Job, tell: Tell) -> JobState:
    # As in ``processes``: the trainer's collections need not visit all imported objects.
    gc.collect()
    gc.freeze()
    return run_job(job, run, out, lambda done, total, detail: tell((job.id, done, total, detail)))
