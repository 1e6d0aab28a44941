"""Finished jobs of another study's folder, taken over where their keys are equal: equal keys mean equal outputs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from poolwise.errors import ConfigError
from poolwise.jobs.job import Job
from poolwise.jobs.state import is_done, load_state, state_path
from poolwise.records import save_record
from poolwise.storage.fingerprints import ABOUT
from poolwise.storage.whole_files import whole_file


def require_study(folder: Path, out: Path) -> None:
    """Raise ConfigError where ``folder`` is not another study's folder than ``out``."""
    if folder.resolve() == out.resolve():
        raise ConfigError(
            f"{folder} is the study's own folder", "wanted another study to take jobs from", "leave --reuse out"
        )
    if not (folder / "study.json").is_file():
        inside = sorted(path.parent.name for path in folder.glob("*/study.json"))
        raise ConfigError(
            f"{folder} is not the folder of a study",
            "wanted one to take finished jobs from",
            f"it holds studies, such as {folder / inside[0]}: name one of them" if inside else "check --reuse",
        )


def reuse_jobs(jobs: Sequence[Job], source: Path, out: Path) -> list[Job]:
    """Copy what finished jobs of ``source`` wrote into ``out``; return the jobs that need not run because of it.

    Taken are jobs with a state that records checksums, and only if all files are as they were written. The state is
    written last, so a job whose copying was interrupted counts as not done.
    """
    taken = []
    for job in jobs:
        # Stored states are not copied: they are large, and a screen deletes them once nothing reads them.
        if job.kind == "pass" or is_done(out, job) or not is_done(source, job):
            continue
        state = load_state(source, job)
        if state is None or state.outputs is None:
            continue
        for name in state.outputs:
            _copy(source / name, out / name)
        if job.kind == "train":
            # An evaluation adds the cost to the manifest and the scores to the card, so they are not among the outputs.
            run = Path("runs") / job.run
            for path in (run / "run.json", *(run / "model" / about for about in sorted(ABOUT))):
                if (source / path).is_file():
                    _copy(source / path, out / path)
        save_record(state, state_path(out, job))
        taken.append(job)
    return taken


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as known, whole_file(target) as file:
        shutil.copyfileobj(known, file)
