"""Runs the jobs of a plan one after the other; what is done stays done, what fails does not stop the rest."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from poolwise.config import Recipe
from poolwise.design import parse_design
from poolwise.errors import explain
from poolwise.records import Record, load_record, save_record
from poolwise.study.adapt import inputs_for, run_adaptation
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


Perform = Callable[[Job, "Work", Report], None]


@dataclass(frozen=True)
class Work:
    """What every job of a study needs, in this process or in a worker."""

    jobs: Sequence[Job]
    recipe: Recipe
    inputs: StudyInputs
    out: Path
    perform: Perform | None = None
    """What the jobs do, where it is not what the jobs of a study do."""


def execute(work: Work, progress: Progress) -> dict[str, str]:
    """Run every job that is not done yet, one after the other; return the error of each that failed, by label.

    A job whose need failed is skipped and counted as failed. KeyboardInterrupt passes through; the next call
    goes on where this one stopped.
    """
    failures: dict[str, str] = {}
    for job in work.jobs:
        if is_done(work.out, job):
            continue
        if reason := blocked(job, work):
            failures[job.label] = reason
            continue
        progress.job_started(job)
        state = run_job(job, work, _reporter(progress, job))
        settle(job, state, progress, failures)
    return failures


def blocked(job: Job, work: Work) -> str:
    """Return why a job cannot run, or nothing if all it needs is done."""
    by_id = {other.id: other for other in work.jobs}
    missing = [by_id[need].label for need in job.needs if not is_done(work.out, by_id[need])]
    return f"skipped: {missing[0]} failed" if missing else ""


def settle(job: Job, state: JobState, progress: Progress, failures: dict[str, str]) -> None:
    """Tell how a job ended and keep its error."""
    if state.status == "done":
        progress.job_finished(job, state.seconds)
    else:
        failures[job.label] = state.error
        progress.job_failed(job, state.error)


def run_job(job: Job, work: Work, report: Report) -> JobState:
    """Run one job and write how it ended; any error but an interruption becomes part of the record."""
    start = time.monotonic()
    try:
        (work.perform or _run)(job, work, report)
    except Exception as error:
        state = JobState(status="failed", seconds=time.monotonic() - start, error=_explain(error, work.out, job))
    else:
        state = JobState(status="done", seconds=time.monotonic() - start)
    save_record(state, state_path(work.out, job))
    return state


def _reporter(progress: Progress, job: Job) -> Report:
    return lambda done, total, detail: progress.job_advanced(job, done, total, detail)


def _run(job: Job, work: Work, report: Report) -> None:
    recipe, inputs, out = work.recipe, inputs_for(job, work.jobs, work.inputs, work.out), work.out
    folder = out / "runs" / job.run
    if job.kind == "adapt":
        run_adaptation(job, recipe, inputs, out, report)
    elif job.kind == "anchor":
        evaluate_anchor(job.name, inputs, recipe, folder, report)
    elif job.kind == "eval":
        evaluate_trained(folder, inputs.tasks, recipe.eval, report)
    elif job.kind == "tune":
        tune_run(parse_design(job.name), inputs, recipe, job.seed, tuning_folder(out, job), report)
    else:
        tuned = next((other for other in work.jobs if other.kind == "tune" and other.id in job.needs), None)
        config = tuned_config(recipe, job.name, tuning_folder(out, tuned)) if tuned else recipe.train
        design, schedule = parse_design(job.name), inputs.schedules[job.seed]
        train_run(design, inputs, config, schedule, job.seed, folder, report, recipe.eval.max_tokens)


def tuning_folder(out: Path, job: Job) -> Path:
    """Return where a tuning job keeps its trials: apart from the runs that the study is about."""
    return out / "tuning" / job.run


def _explain(error: Exception, out: Path, job: Job) -> str:
    """Return one message for the record; an error that is not the user's leaves its traceback beside it."""
    if known := explain(error):
        return str(known)
    path = state_path(out, job).with_suffix(".traceback.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {error} (an error of poolwise's own; see {path})"
