"""The loop that runs a plan, and the executor protocol: finished jobs are kept, a failed job stops no other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from poolwise.jobs.job import Job
from poolwise.jobs.progress import Progress
from poolwise.jobs.state import JobState, Report, RunJob, damage, discard, is_done, run_job, state_path


class Executor(Protocol):
    """Runs single jobs; the loop decides which job runs when, and what a failure means.

    Used as a context manager. If an exception leaves the context, it ends running jobs or lets them reach a
    checkpoint; it must not leave a process behind that still writes.
    """

    @property
    def num_slots(self) -> int:
        """How many jobs it runs at a time; the loop never submits more."""
        ...

    def submit(self, job: Job, report: Report) -> Future[JobState]:
        """Start a job and return a future of its final state.

        A failed job, even one whose process is killed, gives a state and not an exception.

        Args:
            report: called with the job's progress, from any thread.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class InProcess:
    """Runs jobs in this process, one after the other; ``submit`` returns when the job has ended."""

    num_slots = 1

    def __init__(self, run: RunJob, out: Path) -> None:
        self._run, self._out = run, out

    def submit(self, job: Job, report: Report) -> Future[JobState]:
        """Run a job to its end. KeyboardInterrupt is passed on."""
        future: Future[JobState] = Future()
        future.set_result(run_job(job, self._run, self._out, report))
        return future

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def run_jobs(jobs: Sequence[Job], out: Path, executor: Executor, progress: Progress) -> dict[str, str]:
    """Run every job that is not done yet; return the errors of failed jobs, by label.

    A finished job whose files are missing or damaged is not done: it runs again, and a note names the file.

    Of the jobs that can run, the earliest in the plan starts first. A job that needs a failed job is skipped and counts
    as failed. KeyboardInterrupt is passed on; the next call resumes.

    Args:
        jobs: each after the jobs it needs.
        out: the folder that stores the states of jobs.
    """
    by_id = {job.id: job for job in jobs}
    failures: dict[str, str] = {}
    waiting = unfinished_jobs(jobs, out)
    for job in waiting:
        if damaged := damage(out, job):
            name, problem = next(iter(damaged.items()))
            progress.note(f"{out / name} {problem}; {job.label} runs again")
        if state_path(out, job).is_file():  # else it was interrupted, and what it wrote is resumed
            discard(out, job)
    running: dict[Future[JobState], Job] = {}
    while waiting or running:
        # A job that needs a running one keeps waiting; one that needs a failed job is skipped here.
        pending = {job.id for job in (*waiting, *running.values())}
        for job in [job for job in waiting if not pending.intersection(job.needs)]:
            failed = [by_id[need].label for need in job.needs if not is_done(out, by_id[need])]
            if failed:
                failures[job.label] = f"skipped: {failed[0]} failed"
                waiting.remove(job)
                progress.job_skipped(job, failures[job.label])
            elif len(running) < executor.num_slots:
                waiting.remove(job)
                progress.job_started(job)
                running[executor.submit(job, _reporter(progress, job))] = job
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            job, state = running.pop(future), future.result()
            if state.status == "done":
                progress.job_finished(job, state.seconds)
            else:
                failures[job.label] = state.error
                progress.job_failed(job, state.error)
    return failures


def unfinished_jobs(jobs: Sequence[Job], out: Path) -> list[Job]:
    """Return the jobs that are not done, in the order of the plan.

    Among them are the evaluation of a training that runs again, because both write the manifest of the run, and a pass
    with missing or damaged states that another of them reads.
    """
    kinds = {job.id: job.kind for job in jobs}
    unfinished = {job.id: job for job in jobs if not is_done(out, job)}
    read = {need for job in unfinished.values() for need in job.needs}
    for job in jobs:
        trains_again = any(kinds.get(need) == "train" and need in unfinished for need in job.needs)
        if (job.kind == "eval" and trains_again) or (job.kind == "pass" and job.id in read and damage(out, job)):
            unfinished[job.id] = job
    return [job for job in jobs if job.id in unfinished]


def _reporter(progress: Progress, job: Job) -> Report:
    return lambda done, total, detail: progress.job_advanced(job, done, total, detail)
