"""Repeats one cell of a study from its records, in a temporary folder, and says how far the repetition is from it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from poolwise.config import Recipe
from poolwise.errors import ConfigError, DataError, EvalError, nearest
from poolwise.jobs import InProcess, Job, JobState, Progress, Report, RunJob, load_state, run_jobs, state_path
from poolwise.jobs.state import damage
from poolwise.records import Record, load_record, load_run, planned_runs
from poolwise.results import StudyResults
from poolwise.study.adapt import adaptation_folder
from poolwise.study.differences import RunDifferences, compare_run
from poolwise.study.inputs import StudyInputs, load_inputs
from poolwise.study.perform import Work
from poolwise.study.provenance import machine, versions
from poolwise.study.resume import input_changes
from poolwise.study.study import Course, stored_recipe

_OF_MACHINE = ("processor", "instructions", "accelerator")
_MOST_NAMED = 8


class Repetition(Record):
    """A cell of a study and its repetition: whether they are the same, and where they differ.

    Args:
        run: the folder of the cell below ``runs/``.
        runs: the adapted base, where the cell starts from one, then the cell.
        circumstances: what was otherwise when the study ran: versions, machine.
    """

    study: str
    run: str
    label: str
    tolerance: float
    is_same: bool
    is_within: bool
    seconds: float
    runs: list[RunDifferences]
    circumstances: list[str]


def locate_run(path: Path, cell: str | None = None) -> tuple[Path, str]:
    """Return the folder of a study, and the name of one of its runs.

    Args:
        path: a run in a study, or the study.
        cell: of a study, the name of the run or its beginning; it may be left out where there is one run.
    Raises: ConfigError where there is no such run, or several begin so.
    """
    path = path.expanduser()
    if not (path / "study.json").is_file():
        study = path.resolve().parent.parent
        if path.resolve().parent.name != "runs" or not (study / "study.json").is_file():
            what = "is not a run of a study, nor a study" if path.exists() else "does not exist"
            raise ConfigError(f"{path} {what}", "wanted STUDY/runs/NAME, or STUDY with --cell NAME")
        if cell is not None:
            raise ConfigError(f"--cell {cell} with the folder of a run", "wanted --cell with the folder of a study")
        path, cell = study, path.resolve().name
    names = planned_runs(path) or []
    found = [name for name in names if name == cell] or [name for name in names if name.startswith(cell or "")]
    if len(found) == 1:
        return path, found[0]
    if not found:
        assert cell is not None
        raise ConfigError(f"{path} has no run {cell}", "wanted a run of its plan", nearest(cell, names))
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    shown = ", ".join(found[:_MOST_NAMED])
    raise ConfigError(
        f"{path} has {len(found)} runs{f' that begin with {cell}' if cell else ''}: {shown}{more}",
        "wanted one of them",
        "give its folder, or --cell NAME",
    )


def repeat_run(study: Path, run: str, course: Course, tolerance: float, progress: Progress | None = None) -> Repetition:
    """Run the jobs of one cell again and compare: with the recorded recipe, seeds, batches and number of threads.

    Everything that the cell needs is repeated too: an adapted base, the tuning of its learning rate, stored states. All
    of it is written into a temporary folder, which is deleted; the study is only read.

    Args:
        run: the folder of the cell below ``runs/``, from ``locate_run``.
        tolerance: how far the score of a task may move.
    Raises: DataError where an input changed since; EvalError where the cell is not finished, a record is damaged, or
        a job fails; any error in the inputs.
    """
    progress = progress or Progress()
    recipe = stored_recipe(study / "study.json")
    inputs = load_inputs(recipe)
    jobs = _jobs_of(run, course.plan(recipe, inputs))
    states = _require_recorded(study, run, jobs, inputs)
    seconds = {job.id: state.seconds for job, state in states.items()}
    if any(state.outputs is None for state in states.values()):
        progress.note("an older version ran this cell, without checksums: whether its files changed cannot be checked")
    progress.started(jobs, seconds, 1)
    with tempfile.TemporaryDirectory(prefix="poolwise-repro-") as name:
        out = Path(name)
        failures = run_jobs(jobs, out, InProcess(_performed(course, jobs, recipe, inputs, out, states), out), progress)
        if failures:
            label, reason = next(iter(failures.items()))
            raise EvalError(f"{label} failed: {reason}", "wanted the cell to run as it did when it was recorded")
        runs = [compare_run(_folder(study, job), _folder(out, job)) for job in jobs if job.kind in ("adapt", "train")]
        if jobs[-1].kind != "eval":
            runs.append(compare_run(_folder(study, jobs[-1]), _folder(out, jobs[-1])))
        repeated = [load_state(out, job) for job in jobs]
    is_same = all(found.is_same for found in runs)
    return Repetition(
        study=str(study),
        run=run,
        label=jobs[-1].label.removeprefix("eval "),
        tolerance=tolerance,
        is_same=is_same,
        is_within=is_same or all(task.amount <= tolerance for task in runs[-1].tasks),
        seconds=sum(state.seconds for state in repeated if state),
        runs=runs,
        circumstances=_circumstances(study, run, states),
    )


def _jobs_of(run: str, jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs of a run and all that they need, in the order of the plan; the last one scores it."""
    by_id = {job.id: job for job in jobs}
    wanted: set[str] = set()

    def want(job: Job) -> None:
        wanted.add(job.id)
        for need in job.needs:
            want(by_id[need])

    for job in jobs:
        if job.run == run and job.kind in ("train", "eval", "anchor", "entrant"):
            want(job)
    return [job for job in jobs if job.id in wanted]


def _require_recorded(study: Path, run: str, jobs: Sequence[Job], inputs: StudyInputs) -> dict[Job, JobState]:
    """Return how each job of a cell ended in the study.

    Raises: DataError or EvalError unless all are done, with the inputs of today, and their files are as written.
    """
    states = {job: state for job in jobs if (state := load_state(study, job)) is not None}
    if not jobs or len(states) < len(jobs):
        if changed := input_changes(study, inputs.hashes):
            raise DataError(
                f"{study / 'runs' / run} was made with other inputs: {'; '.join(changed)}",
                "wanted the inputs of the study",
                "restore them; or run the study again, with the new ones",
            )
        missing = next((job for job in jobs if job not in states), None)
        place = state_path(study, missing) if missing else study / "jobs"
        what = f"{missing.label} has not ended there, or its record is damaged" if missing else "the plan has no job"
        raise EvalError(
            f"{study / 'runs' / run} cannot be repeated: {what} ({place})",
            "wanted a finished run",
            "run the study again: it resumes",
        )
    for job, state in states.items():
        if state.status != "done":
            raise EvalError(f"{job.label} failed in {study}: {state.error}", "wanted a finished run")
        # The states of a pass may be deleted once its heads are trained and scored.
        for name, problem in ({} if job.kind == "pass" else damage(study, job)).items():
            raise EvalError(
                f"{study / name} {problem}", "wanted the records as they were written", "run the study again"
            )
    return states


def _performed(
    course: Course, jobs: Sequence[Job], recipe: Recipe, inputs: StudyInputs, out: Path, states: dict[Job, JobState]
) -> RunJob:
    """Return the function that runs a job with as many threads as it had, for sums are rounded by their order."""
    work = Work(jobs, recipe, inputs, out)

    def run(job: Job, report: Report) -> None:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(states[job].threads or before)
        try:
            course.perform(job, work, report)
        finally:
            torch.set_num_threads(before)

    return run


def _folder(out: Path, job: Job) -> Path:
    return adaptation_folder(out, job) if job.kind == "adapt" else out / "runs" / job.run


def _circumstances(study: Path, run: str, states: dict[Job, JobState]) -> list[str]:
    """Return what was otherwise when the study ran, in words; nothing of what its records do not say."""
    then, now = load_run(study / "runs" / run).manifest.versions, versions()
    with suppress(EvalError):
        measured = load_record(StudyResults, study / "results.json").measured.machine
        then, now = then | {key: measured[key] for key in _OF_MACHINE if key in measured}, now | machine()
    found = [f"{name} {then[name]} there, {now[name]} here" for name in then if then[name] != now.get(name)]
    if any(state.threads is None for job, state in states.items() if job.kind in ("adapt", "train", "tune")):
        found.append("the records do not say how many threads it ran with")
    return found
