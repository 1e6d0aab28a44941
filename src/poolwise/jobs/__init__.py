"""Runs the jobs of a plan: one scheduling loop, and executors that run a job in this process or in others."""

from poolwise.jobs.eta import Eta
from poolwise.jobs.executor import Executor, InProcess, run_jobs, unfinished_jobs
from poolwise.jobs.job import Job, JobKind
from poolwise.jobs.processes import (
    Processes,
    choose_workers,
    end_with_parent,
    prepare_workers,
    share_gpus,
    usable_cores,
    wants_workers,
)
from poolwise.jobs.progress import Progress
from poolwise.jobs.rank_processes import run_in_ranks
from poolwise.jobs.state import JobState, Report, RunJob, is_done, load_state, state_path

__all__ = [
    "Eta",
    "Executor",
    "InProcess",
    "Job",
    "JobKind",
    "JobState",
    "Processes",
    "Progress",
    "Report",
    "RunJob",
    "choose_workers",
    "end_with_parent",
    "is_done",
    "load_state",
    "prepare_workers",
    "run_in_ranks",
    "run_jobs",
    "share_gpus",
    "state_path",
    "unfinished_jobs",
    "usable_cores",
    "wants_workers",
]
