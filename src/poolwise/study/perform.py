"""What the jobs of a study do, by kind, and what each of them is given, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from poolwise.config import Recipe
from poolwise.design import parse_design
from poolwise.jobs import Job, Report, RunJob
from poolwise.study.adapt import inputs_for, run_adaptation
from poolwise.study.jobs import evaluate_anchor, evaluate_trained, train_run, tune_run, tuned_config
from poolwise.study.plan import InputHashes
from poolwise.study.worker_inputs import Inputs, WorkerInputs


@dataclass(frozen=True)
class Work:
    """What every job of a study needs."""

    jobs: Sequence[Job]
    recipe: Recipe
    inputs: Inputs
    out: Path


Perform = Callable[[Job, Work, Report], None]
"""What one kind of study does with a job. Worker processes import it by its name."""


def bind(perform: Perform, work: Work) -> RunJob:
    """Return what an executor calls with a job."""
    return lambda job, report: perform(job, work, report)


def open_work(perform: Perform, jobs: Sequence[Job], recipe: Recipe, hashes: InputHashes, out: Path) -> RunJob:
    """Return what a worker calls with a job: it loads what jobs ask for from the recipe, once."""
    return bind(perform, Work(jobs, recipe, WorkerInputs(recipe, hashes, out), out))


def perform_job(job: Job, work: Work, report: Report) -> None:
    """Run one job of a study."""
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
        train_run(design, inputs, config, schedule, job.seed, folder, report, recipe.max_tokens)


def tuning_folder(out: Path, job: Job) -> Path:
    """Return where a tuning job keeps its trials: apart from the runs that the study is about."""
    return out / "tuning" / job.run
