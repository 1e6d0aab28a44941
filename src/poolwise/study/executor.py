"""Runs the jobs of a plan one after the other; what is done stays done, what fails does not stop the rest."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from poolwise.config import Recipe
from poolwise.design import parse_design
from poolwise.errors import ModelError, PoolwiseError
from poolwise.records import Record, load_record, save_record
from poolwise.study.inputs import StudyInputs
from poolwise.study.jobs import Report, evaluate_anchor, evaluate_trained, train_run, tune_run, tuned_config
from poolwise.study.plan import Job
from poolwise.study.progress import Progress


class JobState(Record):
    """How a job ended, kept in ``jobs/<id>.json``."""

    status: Literal["done", "failed"]
    seconds: float
    error: str = ""


def state_path(out: Path, job: Job) -> Path:
    return out / "jobs" / f"{job.id}.json"


def load_state(out: Path, job: Job) -> JobState | None:
    """Return how a job ended, or None if it has not been run to an end."""
    path = state_path(out, job)
    return load_record(JobState, path) if path.is_file() else None


def is_done(out: Path, job: Job) -> bool:
    state = load_state(out, job)
    return state is not None and state.status == "done"


def execute(jobs: Sequence[Job], recipe: Recipe, inputs: StudyInputs, out: Path, progress: Progress) -> dict[str, str]:
    """Run every job that is not done yet, and return the error of each that failed, by job label.

    A job whose need failed is skipped and counted as failed. KeyboardInterrupt passes through; the next call
    goes on where this one stopped.
    """
    by_id = {job.id: job for job in jobs}
    failures: dict[str, str] = {}
    for job in jobs:
        if is_done(out, job):
            continue
        if missing := [by_id[need].label for need in job.needs if not is_done(out, by_id[need])]:
            failures[job.label] = f"skipped: {missing[0]} failed"
            continue
        progress.job_started(job)
        start = time.monotonic()
        try:
            _run(job, by_id, recipe, inputs, out, _reporter(progress, job))
        except Exception as error:
            failures[job.label] = message = _explain(error, out, job)
            save_record(
                JobState(status="failed", seconds=time.monotonic() - start, error=message), state_path(out, job)
            )
            progress.job_failed(job, message)
        else:
            seconds = time.monotonic() - start
            save_record(JobState(status="done", seconds=seconds), state_path(out, job))
            progress.job_finished(job, seconds)
    return failures


def _reporter(progress: Progress, job: Job) -> Report:
    return lambda done, total, detail: progress.job_advanced(job, done, total, detail)


def _run(job: Job, by_id: dict[str, Job], recipe: Recipe, inputs: StudyInputs, out: Path, report: Report) -> None:
    folder = out / "runs" / job.run
    if job.kind == "anchor":
        evaluate_anchor(job.name, inputs, recipe, folder, report)
    elif job.kind == "eval":
        evaluate_trained(folder, inputs.tasks, recipe.eval, report)
    elif job.kind == "tune":
        tune_run(parse_design(job.name), inputs, recipe, job.seed, tuning_folder(out, job), report)
    else:
        config = tuned_config(recipe, job.name, tuning_folder(out, by_id[job.needs[0]])) if job.needs else recipe.train
        schedule = inputs.schedules[job.seed]
        train_run(parse_design(job.name), inputs, config, schedule, job.seed, folder, report, recipe.eval.max_tokens)


def tuning_folder(out: Path, job: Job) -> Path:
    """Return where a tuning job keeps its trials: apart from the runs that the study is about."""
    return out / "tuning" / job.run


def _explain(error: Exception, out: Path, job: Job) -> str:
    """Return one message for the record; an error that is not the user's leaves its traceback beside it."""
    if _is_out_of_memory(error):
        error = ModelError(
            f"out of memory: {str(error).splitlines()[0]}",
            hint="lower eval.batch_size, train.mini_batch_size or max_tokens, or set train.gradient_checkpointing",
        )
    if isinstance(error, PoolwiseError):
        return str(error)
    path = state_path(out, job).with_suffix(".traceback.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {error} (an error of poolwise's own; see {path})"


def _is_out_of_memory(error: Exception) -> bool:
    return (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate" in str(error)
    )
