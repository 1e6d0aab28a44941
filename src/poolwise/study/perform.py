"""Runs one job of a study by its kind, with the inputs it needs, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from poolwise.config import Recipe
from poolwise.design import parse_design
from poolwise.jobs import Job, Report, RunJob
from poolwise.study.adapt import inputs_for, run_adaptation
from poolwise.study.entrant_evaluation import evaluate_entrant
from poolwise.study.jobs import evaluate_anchor, evaluate_trained, train_run, tune_run, tuned_config
from poolwise.study.plan import InputHashes
from poolwise.study.worker_inputs import Inputs, WorkerInputs


@dataclass(frozen=True)
class Work:
    """What every job of a study gets."""

    jobs: Sequence[Job]
    recipe: Recipe
    inputs: Inputs
    out: Path


Perform = Callable[[Job, Work, Report], None]
"""The function that runs one job of a study or a screen. Worker processes import it by name."""


def bind(perform: Perform, work: Work) -> RunJob:
    """Return the function that an executor calls with a job."""
    return lambda job, report: perform(job, work, report)


def open_work(perform: Perform, jobs: Sequence[Job], recipe: Recipe, hashes: InputHashes, out: Path) -> RunJob:
    """Return the function that a worker calls with a job; it loads each input of the recipe once, when needed."""
    return bind(perform, Work(jobs, recipe, WorkerInputs(recipe, hashes, out), out))


def perform_job(job: Job, work: Work, report: Report) -> None:
    """Run one job of a study."""
    recipe, inputs, out = work.recipe, inputs_for(job, work.jobs, work.inputs, work.out), work.out
    folder = out / "runs" / job.run
    if job.kind == "adapt":
        run_adaptation(job, recipe, inputs, out, report)
    elif job.kind == "anchor":
        evaluate_anchor(job.name, inputs, recipe, folder, report)
    elif job.kind == "entrant":
        evaluate_entrant(inputs.entrants[job.name], inputs.tasks, recipe, folder, report)
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
    """Return the folder of a tuning job's trials, separate from the study's runs."""
    return out / "tuning" / job.run
