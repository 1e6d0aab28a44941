"""The final state of a job on disk, and the function that runs a job and writes it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from poolwise.errors import explain
from poolwise.jobs.job import Job
from poolwise.records import Record, load_record, save_record

Report = Callable[[int, int, str], None]
"""Called with the steps done, the total steps, and a short message."""

RunJob = Callable[[Job, Report], None]
"""Does the work of one job; an exception means that it failed."""


class JobState(Record):
    """How a job ended, kept in ``jobs/<id>.json``."""

    status: Literal["done", "failed"]
    seconds: float
    error: str = ""


def state_path(out: Path, job: Job) -> Path:
    return out / "jobs" / f"{job.id}.json"


def load_state(out: Path, job: Job) -> JobState | None:
    """Return how a job ended, or None if it has not ended yet."""
    path = state_path(out, job)
    return load_record(JobState, path) if path.is_file() else None


def is_done(out: Path, job: Job) -> bool:
    state = load_state(out, job)
    return state is not None and state.status == "done"


def run_job(job: Job, run: RunJob, out: Path, report: Report) -> JobState:
    """Run one job and write how it ended; any error except KeyboardInterrupt is stored in the state."""
    start = time.monotonic()
    try:
        run(job, report)
    except Exception as error:
        state = JobState(status="failed", seconds=time.monotonic() - start, error=_explain(error, out, job))
    else:
        state = JobState(status="done", seconds=time.monotonic() - start)
    save_record(state, state_path(out, job))
    return state


def _explain(error: Exception, out: Path, job: Job) -> str:
    """Return the message for the state; if the error is a bug, write its traceback next to the state."""
    if known := explain(error):
        return str(known)
    path = state_path(out, job).with_suffix(".traceback.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {error} (a bug in poolwise; see {path})"
