"""The final state of a job on disk, with checksums of what the job wrote, and the function that runs a job."""

from __future__ import annotations

import logging
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from poolwise.errors import EvalError, explain
from poolwise.jobs.job import Job, JobKind
from poolwise.records import Record, RunManifest, load_record, save_record
from poolwise.storage.checksums import checksums, damages, files_below, load_checksums, write_checksums
from poolwise.storage.fingerprints import ABOUT, fingerprint
from poolwise.storage.whole_files import flush_file
from poolwise.wording import without_homes

logger = logging.getLogger(__name__)
Report = Callable[[int, int, str], None]
"""Called with the steps done, the total steps, and a short message."""

RunJob = Callable[[Job, Report], None]
"""Does the work of one job; an exception means that it failed."""


class JobState(Record):
    """How a job ended, kept in ``jobs/<id>.json``."""

    status: Literal["done", "failed"]
    seconds: float
    error: str = ""
    outputs: dict[str, str] | None = Field(
        default=None, description="checksums of the files it wrote; None from a version that recorded none"
    )
    manifest: str = Field(default="", description="of a training: hash of its run.json without the cost")
    threads: int | None = Field(default=None, description="of torch, in the process that ran it; None if not recorded")

    @field_validator("error")
    @classmethod
    def _without_homes(cls, error: str) -> str:
        return without_homes(error)


def state_path(out: Path, job: Job) -> Path:
    return out / "jobs" / f"{job.id}.json"


def load_state(out: Path, job: Job) -> JobState | None:
    """Return how a job ended, or None if it has not ended yet, or its state cannot be read, which a warning says."""
    path = state_path(out, job)
    try:
        return load_record(JobState, path) if path.is_file() else None
    except EvalError as error:
        logger.warning("%s; %s runs again", error.got, job.label)
        return None


def is_done(out: Path, job: Job) -> bool:
    """Return whether a job succeeded and the files that it wrote are as it wrote them.

    States that a pass stored are compared by ``damage`` only: they may be deleted once nothing reads them any more.
    """
    state = load_state(out, job)
    return state is not None and state.status == "done" and (job.kind == "pass" or not damage(out, job))


def damage(out: Path, job: Job) -> dict[str, str]:
    """Return what is wrong with each file that a finished job wrote, in words, by its path below ``out``.

    A file that cannot be told from a whole one, because an older version recorded no checksums, is not named.
    """
    state = load_state(out, job)
    if state is None or state.status != "done":
        return {}
    found = damages(out, state.outputs or {})
    if state.manifest and _manifest(out, job) != state.manifest:
        found[f"runs/{job.run}/run.json"] = "is missing or has other contents than when it was written"
    return found


def model_checksums(outputs: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the checksums of each trained model's files among a job's outputs, by the model's folder."""
    found: dict[str, dict[str, str]] = {}
    for name, known in outputs.items():
        parts = name.split("/")
        if parts[0] == "runs" and parts[2:3] == ["model"]:
            found.setdefault("/".join(parts[:3]), {})[name] = known
    return found


def restore_checksums(out: Path) -> None:
    """Write ``SUMS`` of each trained model of a study as the jobs recorded it, where it is missing or differs."""
    for path in sorted((out / "jobs").glob("train-*.json")):
        try:
            state = load_record(JobState, path)
        except EvalError:
            continue
        for within, wanted in model_checksums(state.outputs or {}).items():
            sums = {name.removeprefix(f"{within}/"): known for name, known in wanted.items()}
            try:
                is_whole = load_checksums(out / within) == sums
            except (OSError, ValueError):
                is_whole = False
            if not is_whole and (out / within).is_dir():
                write_checksums(out / within, sums)


def _manifest(out: Path, job: Job) -> str:
    """Return a hash of a training's ``run.json`` without the cost, to which its evaluation adds; empty without one."""
    path = out / "runs" / job.run / "run.json"
    try:
        return fingerprint(load_record(RunManifest, path).model_dump(mode="json", exclude={"cost"}))
    except EvalError:
        return ""


def outputs(out: Path, job: Job) -> list[Path]:
    """Return the files that a job has written and that later jobs, or the report, read.

    Left out are cards, which later change, and ``run.json`` of a training, to which its evaluation adds the cost.
    """
    run = out / "runs" / job.run
    if job.kind in ("eval", "anchor", "entrant"):
        return [path for path in [run / "run.json", *files_below(run / "items")] if path.is_file()]
    if job.kind == "train":
        own = [*files_below(run / "model"), *files_below(run / "head"), run / "training.jsonl", run / "looks.json"]
    else:
        own = files_below(out / _PLACES[job.kind] / job.run) if job.run else []
    return [path for path in own if path.is_file() and path.name not in ABOUT]


_PLACES: dict[JobKind, str] = {"adapt": "adapted", "tune": "tuning", "pass": "states"}


def discard(out: Path, job: Job) -> None:
    """Delete what an ended job wrote, so that it runs again; of a failed job, what it wrote is kept and resumed.

    Of scores, the whole ones are kept if the manifest of the run is whole; else all go, so that the cost is measured
    again. A pass keeps its states: it compares them itself.
    """
    state, bad = load_state(out, job), damage(out, job)
    state_path(out, job).unlink(missing_ok=True)
    if job.kind == "pass" or not job.run or (state is not None and state.status == "failed"):
        return
    run = out / "runs" / job.run
    if job.kind in _PLACES:
        shutil.rmtree(out / _PLACES[job.kind] / job.run, ignore_errors=True)
    elif job.kind == "train":
        for name in ("model", "head"):
            shutil.rmtree(run / name, ignore_errors=True)
    elif not bad or f"runs/{job.run}/run.json" in bad:
        shutil.rmtree(run / "items", ignore_errors=True)
    else:
        for name in bad:
            (out / name).unlink(missing_ok=True)


def run_job(job: Job, run: RunJob, out: Path, report: Report) -> JobState:
    """Run one job and write how it ended; any error except KeyboardInterrupt is stored in the state."""
    start = time.monotonic()
    try:
        run(job, report)
    except Exception as error:
        state = JobState(status="failed", seconds=time.monotonic() - start, error=_explain(error, out, job))
    else:
        written = checksums(out, files := outputs(out, job))
        for path in files:
            flush_file(path)  # else a crash of the machine could keep the state and lose a file
        seconds = time.monotonic() - start
        state = JobState(status="done", seconds=seconds, outputs=written, threads=_num_threads())
        if job.kind == "train":
            state.manifest = _manifest(out, job)
    save_record(state, state_path(out, job))
    return state


def _num_threads() -> int | None:
    """Return the number of threads that torch computes with; None where no job of this process needed it."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else None


def _explain(error: Exception, out: Path, job: Job) -> str:
    """Return the message for the state; if the error is a bug, write its traceback next to the state."""
    if known := explain(error):
        return str(known)
    path = state_path(out, job).with_suffix(".traceback.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(without_homes("".join(traceback.format_exception(error))))
    return f"{type(error).__name__}: {error} (a bug in poolwise; see {path})"
