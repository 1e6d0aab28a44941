"""Messages about resuming a study: where it resumes, which inputs changed, and what an interrupted call saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from poolwise.config import Recipe
from poolwise.jobs import Job, is_done, load_state
from poolwise.results import RESULTS_VERSION
from poolwise.study.adapt import adaptation_folder
from poolwise.study.folders import read_json
from poolwise.study.plan import InputHashes

PLAN = "plan.json"


def plan_inputs(hashes: InputHashes) -> dict[str, str]:
    """Return the fingerprints of the inputs that a plan stores, for the next call to compare."""
    return hashes.by_part | {"version of results": str(RESULTS_VERSION)}


def changed_inputs(out: Path, hashes: InputHashes) -> list[str]:
    """Return a sentence for each input that changed since the plan in ``out`` was made; empty without a plan."""
    kept = "jobs that depend on it run again, other finished jobs are kept"
    return [f"{change}; {kept}" for change in input_changes(out, hashes)]


def input_changes(out: Path, hashes: InputHashes) -> list[str]:
    """Return each input that changed since the plan in ``out`` was made, with both fingerprints, in words."""
    path = out / PLAN
    before: Mapping[str, str] = read_json(path).get("inputs", {}) if path.is_file() else {}
    if not before:
        return []
    now = plan_inputs(hashes)
    return [
        f"{part} changed since this study began: fingerprint {before.get(part, 'none')} -> {now.get(part, 'none')}"
        for part in dict.fromkeys([*before, *now])
        if before.get(part) != now.get(part)
    ]


def unchecked(jobs: Sequence[Job], out: Path) -> list[str]:
    """Return a sentence if finished jobs have no checksums of their files, because an older version ran them."""
    states = [state for job in jobs if (state := load_state(out, job)) and state.status == "done"]
    num_old = sum(state.outputs is None for state in states)
    if not num_old:
        return []
    return [
        f"{num_old} of {len(states)} finished jobs are of an older version, without checksums: whether their files "
        "changed since cannot be told, and they are used as they are"
    ]


def resuming(jobs: Sequence[Job], recipe: Recipe, out: Path) -> str:
    """Return where a call resumes, in words; empty if it starts from the beginning."""
    num_done, begun = sum(is_done(out, job) for job in jobs), _begun(jobs, recipe, out)
    if not num_done and not begun:
        return ""
    parts = [f"{job.label} continues from step {done} of {total}" for job, done, total in begun]
    return "; ".join([f"resuming: {num_done} of {len(jobs)} jobs are done", *parts])


def interrupted(jobs: Sequence[Job], recipe: Recipe, out: Path) -> str:
    """Return what an interrupted call saved, in words."""
    num_done = sum(is_done(out, job) for job in jobs)
    parts = [f"{job.label} up to step {done} of {total}" for job, done, total in _begun(jobs, recipe, out)]
    saved = "; ".join([f"saved in {out}: {num_done} of {len(jobs)} jobs", *parts])
    return f"{saved}; the same command goes on from there"


def _begun(jobs: Sequence[Job], recipe: Recipe, out: Path) -> list[tuple[Job, int, int]]:
    """Return each unfinished training that has a checkpoint, the checkpoint's step, and the total steps."""
    from poolwise.training.checkpoints import resumed_step

    places = [(job, *_training(job, recipe, out)) for job in jobs if job.kind in ("adapt", "train")]
    found = [(job, resumed_step(folder), total) for job, folder, total in places if not is_done(out, job)]
    return [(job, step, total) for job, step, total in found if step is not None]


def _training(job: Job, recipe: Recipe, out: Path) -> tuple[Path, int]:
    if job.kind == "adapt" and recipe.adapt is not None:
        return adaptation_folder(out, job), recipe.adapt.steps
    return out / "runs" / job.run, recipe.train.steps
