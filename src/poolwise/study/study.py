"""``run_study``: the whole study, from a recipe to results and their report."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from poolwise.config import Recipe, build_recipe
from poolwise.data import save_schedule
from poolwise.errors import ConfigError, EvalError
from poolwise.freed_memory import release_freed_memory
from poolwise.jobs import (
    Executor,
    InProcess,
    Job,
    Processes,
    Progress,
    choose_workers,
    is_done,
    load_state,
    prepare_workers,
    run_jobs,
    share_gpus,
    unfinished_jobs,
    wants_workers,
)
from poolwise.jobs.ray_cluster import Cluster, Share, share_cluster
from poolwise.jobs.reuse import require_study, reuse_jobs
from poolwise.jobs.state import restore_checksums
from poolwise.ranks import visible_gpus
from poolwise.records import load_record, save_record
from poolwise.report import REPORTS, write_reports
from poolwise.results import Measured, StudyResults
from poolwise.storage.checksums import files_below, save_checksums
from poolwise.storage.fingerprints import SUMS
from poolwise.storage.lock import locked
from poolwise.storage.new_folders import require_new_folder
from poolwise.study.collect import collect
from poolwise.study.estimate import Estimate, estimate_jobs
from poolwise.study.folders import read_json, require_writable, write_json
from poolwise.study.inputs import StudyInputs, load_inputs, schedule_path
from poolwise.study.looks import Look, described, looks, progress_note
from poolwise.study.model_cards import update_cards
from poolwise.study.perform import Perform, Work, bind, open_work, perform_job
from poolwise.study.plan import SCREEN_FOLDER, plan_jobs, run_folders
from poolwise.study.provenance import machine, versions
from poolwise.study.resume import PLAN, changed_inputs, interrupted, plan_inputs, resuming, unchecked
from poolwise.study.shortlist import with_shortlist
from poolwise.tasks import save_texts

PRELOAD = ("poolwise.study.preload",)
"""Modules imported in the process that workers are forked from; nothing else imports them."""


def _finish_study(results: StudyResults, out: Path) -> StudyResults:
    return with_shortlist(results, out / SCREEN_FOLDER)


@dataclass(frozen=True)
class Course:
    """A study, or a screen of one of two kinds: its jobs, their estimated time, how each runs, how results are ended.

    Args:
        perform: runs one job; a function that worker processes can import.
        finish: takes the results and the study's folder, and returns the results to publish.
    """

    kind: Literal["study", "screen", "trial"]
    plan: Callable[[Recipe, StudyInputs], list[Job]]
    estimate: Callable[[Sequence[Job], Recipe, StudyInputs], Estimate]
    perform: Perform = perform_job
    finish: Callable[[StudyResults, Path], StudyResults] = _finish_study


STUDY = Course("study", lambda recipe, inputs: plan_jobs(recipe, inputs.hashes), estimate_jobs)


def run_study(
    recipe: Recipe,
    out: Path,
    progress: Progress | None = None,
    command: str = "",
    workers: int | None = None,
    course: Course = STUDY,
    cluster: Cluster | None = None,
    reuse: Sequence[Path] = (),
) -> StudyResults:
    """Run the remaining jobs of a study, write its reports, and return its results.

    Args:
        out: the study's folder; it may hold an unfinished or finished study of the same recipe.
        workers: the number of processes that run jobs; None chooses by cores and memory.
        course: the kind of study, such as a screen.
        cluster: the Ray cluster whose workers run the jobs; all its nodes must see ``out`` and the recipe's inputs.
            None runs them on this machine.
        reuse: folders of other studies; their finished jobs with equal keys are copied instead of run again.
    Raises: ConfigError where ``out`` belongs to another recipe or is in use, a node does not see it, or a folder of
        ``reuse`` is no study; any error in the inputs, before a job starts.
    """
    progress = progress or Progress()
    check_folder(recipe, out)
    for folder in reuse:
        require_study(folder, out)
    try:
        with locked(out):
            return _run_study(recipe, out, progress, command, workers, course, cluster, reuse)
    finally:
        release_freed_memory()  # that of models; a notebook goes on after its study


def _run_study(
    recipe: Recipe,
    out: Path,
    progress: Progress,
    command: str,
    workers: int | None,
    course: Course,
    cluster: Cluster | None,
    reuse: Sequence[Path],
) -> StudyResults:
    check_folder(recipe, out)  # once more: another process may have begun a study since
    if cluster is None and wants_workers(workers) and not (out / "results.json").is_file():
        prepare_workers(PRELOAD)
    inputs = load_inputs(recipe)
    jobs = course.plan(recipe, inputs)
    changed = changed_inputs(out, inputs.hashes)
    if reuse:
        _write_plan(recipe, jobs, inputs, out, course)  # a folder with jobs belongs to a recipe
    for folder in reuse:
        if taken := reuse_jobs(jobs, folder, out):
            progress.note(f"{len(taken)} of {len(jobs)} jobs are taken from {folder}, where they are finished")
        elif not any(is_done(folder, job) for job in jobs):  # else they were taken before
            progress.note(f"{folder} has no finished job that this study needs: another recipe, other data or version")
    settled, open_looks = _settled(recipe, jobs, inputs, out)
    remaining = unfinished_jobs(jobs, out) if settled is None else []
    estimate = course.estimate(remaining, recipe, inputs) if remaining else None
    notes = (*changed, *unchecked(jobs, out), *(inputs.sources if remaining else ()))
    for note in notes:
        progress.note(note)
    if any(job.kind in ("train", "tune") for job in remaining):
        from poolwise.training.trackers import prepare_trackers

        prepare_trackers(recipe.train.report_to)
    # From here on the folder belongs to this recipe. Errors before this point leave it free for a corrected recipe.
    _write_plan(recipe, jobs, inputs, out, course)
    if settled is not None and (out / "results.json").is_file():
        progress.note("every job is done already; writing the report again from the records")
        return _publish(_with_measured(settled, _measured_before(out, progress)), out, course)
    start, started = time.monotonic(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    if estimate is not None:
        processes = 1 if course.kind == "screen" else recipe.train.processes  # a screen trains heads only
        if cluster is None:
            num_workers = workers or choose_workers(len(remaining), estimate.peak_memory_gib, processes)
            gpus, share = share_gpus(visible_gpus(), num_workers, processes), None
        else:
            gpus, share = [], share_cluster(cluster.nodes(), workers, gpus=processes)
            num_workers = share.count
        progress.started(remaining, estimate.seconds, num_workers)
        if where := resuming(jobs, recipe, out):
            progress.note(where)
        try:
            with _executor(recipe, jobs, inputs, out, course, num_workers, gpus, cluster, share) as executor:
                settled = _run_looks(recipe, jobs, inputs, out, executor, progress, open_looks)
        except KeyboardInterrupt:
            progress.note(interrupted(jobs, recipe, out))
            raise
    measured = Measured(
        machine=machine() | ({} if cluster is None else {"jobs_ran_on": cluster.described()}),
        versions=versions(),
        command=command,
        started=started,
        # A resumed call saw only part of the study.
        wall_seconds=time.monotonic() - start if len(remaining) == len(jobs) else None,
    )
    assert settled is not None
    return _publish(_with_measured(settled, measured), out, course)


def _measured_before(out: Path, progress: Progress) -> Measured:
    """Return what was measured when the jobs ran; of this call if that record is damaged, which a note says."""
    try:
        return load_record(StudyResults, out / "results.json").measured
    except EvalError as error:
        progress.note(f"{error.got}; it is written again, without the time that the jobs took")
        return Measured(machine=machine(), versions=versions())


def _run_looks(
    recipe: Recipe,
    jobs: Sequence[Job],
    inputs: StudyInputs,
    out: Path,
    executor: Executor,
    progress: Progress,
    open_looks: Sequence[Look],
) -> StudyResults:
    """Run the jobs of one look after the other until every contrast is decided, a job fails, or no seed is left."""
    for look in open_looks:
        part = look.jobs(jobs)
        failures = run_jobs(part, out, executor, progress)
        results = _collected(recipe, part, inputs, out, look, failures)
        found = results.results.sequential
        if found is not None and not failures:
            progress.note(progress_note(found))
        if failures or _is_final(look, results):
            break
    return results


def _settled(
    recipe: Recipe, jobs: Sequence[Job], inputs: StudyInputs, out: Path
) -> tuple[StudyResults | None, list[Look]]:
    """Return the results of a study that needs no more jobs, or None, and the looks that are still open."""
    every = looks(recipe)
    for place, look in enumerate(every):
        part = look.jobs(jobs)
        if not all(is_done(out, job) for job in part):
            return None, every[place:]
        save_texts(inputs.tasks, out)  # a study from before texts were kept gets them here
        results = _collected(recipe, part, inputs, out, look, {})
        if _is_final(look, results):
            return results, []
    raise AssertionError("the last look is final")


def _is_final(look: Look, results: StudyResults) -> bool:
    """Return whether no look follows: every contrast is decided, or no seed is left."""
    found = results.results.sequential
    return look.is_last or (found is not None and found.is_decided)


def _collected(
    recipe: Recipe,
    jobs: Sequence[Job],
    inputs: StudyInputs,
    out: Path,
    look: Look,
    failures: dict[str, str],
) -> StudyResults:
    """Return the results at one look, without machine and time."""
    found = collect(recipe, jobs, inputs.hashes, out, failures, Measured(), look.share)
    looked = described(recipe, look, found.results.comparison)
    return found.model_copy(update={"results": found.results.model_copy(update={"sequential": looked})})


def _with_measured(found: StudyResults, measured: Measured) -> StudyResults:
    costs = found.measured.costs
    return found.model_copy(update={"measured": measured.model_copy(update={"costs": costs})})


def _executor(
    recipe: Recipe,
    jobs: Sequence[Job],
    inputs: StudyInputs,
    out: Path,
    course: Course,
    num_workers: int,
    gpus: Sequence[str],
    cluster: Cluster | None,
    share: Share | None,
) -> Executor:
    if num_workers == 1 and cluster is None:
        return InProcess(bind(course.perform, Work(jobs, recipe, inputs, out)), out)
    # Workers load what their jobs need, so that no corpus is sent to them.
    if "@" in inputs.base and not Path(recipe.base).is_dir():
        # For a hub id, use the commit of the plan, even if the author pushes a new one meanwhile.
        recipe = recipe.model_copy(update={"base": inputs.base})
    recipe = recipe.model_copy(update={"entrants": [entrant.pinned for entrant in inputs.entrants.values()]})
    opened = partial(open_work, course.perform, tuple(jobs), recipe, inputs.hashes, out.resolve() if cluster else out)
    if cluster is not None and share is not None:
        from poolwise.study.on_ray import ray_executor

        return ray_executor(recipe, opened, out, cluster, share)
    return Processes(opened, out, num_workers, PRELOAD, gpus)


def report_path(out: Path) -> Path:
    """Return the path of a study's HTML report."""
    return out / "report.html"


def require_study_folder(out: Path) -> None:
    """Raise EvalError where ``out`` is not the folder of a study or a screen."""
    if not (out / "study.json").is_file():
        raise EvalError(f"{out} is not the folder of a study", hint="give the --out folder of poolwise study")


def publish_unfinished(out: Path, course: Course = STUDY) -> StudyResults:
    """Write the report of an interrupted study: the finished jobs, and which are missing. Return the results.

    Raises: EvalError where ``out`` is not a study, or none of its designs is trained and evaluated yet; ConfigError
        where a process is running it.
    """
    require_study_folder(out)
    recipe = stored_recipe(out / "study.json")
    require_writable(out)
    with locked(out):
        return _publish_unfinished(recipe, out, course)


def _publish_unfinished(recipe: Recipe, out: Path, course: Course) -> StudyResults:
    inputs = load_inputs(recipe)
    jobs = course.plan(recipe, inputs)
    save_texts(inputs.tasks, out)
    states = {job.label: load_state(out, job) for job in jobs}
    failures = {label: state.error for label, state in states.items() if state and state.status == "failed"}
    look = _reached(recipe, jobs, out)
    found = _collected(recipe, look.jobs(jobs), inputs, out, look, failures)
    return _publish(_with_measured(found, Measured(machine=machine(), versions=versions())), out, course)


def _reached(recipe: Recipe, jobs: Sequence[Job], out: Path) -> Look:
    """Return the last look whose jobs are all done; the first where none is."""
    first, *later = looks(recipe)
    done = [look for look in (first, *later) if all(is_done(out, job) for job in look.jobs(jobs))]
    return done[-1] if done else first


def plan_study(recipe: Recipe, course: Course = STUDY) -> Estimate:
    """Return the jobs of a recipe with their expected seconds and memory (``--dry-run``)."""
    inputs = load_inputs(recipe)
    return course.estimate(course.plan(recipe, inputs), recipe, inputs)


def check_folder(recipe: Recipe, out: Path) -> None:
    """Raise ConfigError where ``out`` cannot be written, or holds another recipe's study (naming the differing keys)
    or other files.
    """
    path = out / "study.json"
    if path.is_file():
        # The keys that an older version did not write have their defaults.
        mine, theirs = recipe.settings, stored_recipe(path).settings
        keys = (mine.keys() | theirs.keys()) - {"name"}  # a key may be left out at its default
        differing = sorted(key for key in keys if mine.get(key) != theirs.get(key))
        if differing:
            raise ConfigError(
                f"{out} holds the study of another recipe: {', '.join(differing)} differ(s)",
                hint="give another --out, or the recipe that this folder was made with",
            )
    elif not (out / PLAN).is_file():  # with a plan it is a study; jobs of another recipe have other keys
        require_new_folder(out, "study", but=[SCREEN_FOLDER])
    require_writable(out)


def stored_recipe(path: Path) -> Recipe:
    """Return the recipe that a study's folder was made with. Raises: EvalError where it cannot be read."""
    try:
        return build_recipe(read_json(path), str(path))
    except ConfigError as error:
        raise EvalError(
            f"{path} is not the recipe of a study: {error.got.splitlines()[0]}",
            hint="delete it and run the study again: finished jobs of the same recipe are kept",
        ) from error


def _write_plan(recipe: Recipe, jobs: Sequence[Job], inputs: StudyInputs, out: Path, course: Course) -> None:
    (out / SUMS).unlink(missing_ok=True)  # written again with the results, when the files are all there
    write_json(out / "study.json", recipe.model_dump(mode="json"))
    listed = [{"id": job.id, "label": job.label} for job in jobs]
    plan = {"kind": course.kind, "runs": run_folders(jobs), "jobs": listed, "inputs": plan_inputs(inputs.hashes)}
    write_json(out / PLAN, plan)
    save_texts(inputs.tasks, out)
    for seed, schedule in inputs.schedules.items():
        save_schedule(schedule, schedule_path(out, seed))


def _own_files(out: Path) -> list[Path]:
    """Return the files of a study that no job wrote, and the records of its jobs."""
    named = [out / name for name in ("study.json", PLAN, "results.json", *REPORTS)]
    folders = [path for name in ("schedules", "texts") for path in files_below(out / name)]
    return [path for path in (*named, *folders, *sorted((out / "jobs").glob("*.json"))) if path.is_file()]


def _publish(results: StudyResults, out: Path, course: Course) -> StudyResults:
    results = course.finish(results, out)
    save_record(results, out / "results.json")
    write_reports(results, out)
    restore_checksums(out)
    update_cards(results, out)
    save_checksums(out, _own_files(out))
    return results
