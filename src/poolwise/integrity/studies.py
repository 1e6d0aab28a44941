"""The check of studies, screens and experiments."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from poolwise.errors import ConfigError, EvalError
from poolwise.integrity.models import damaged_beside
from poolwise.integrity.verified import Verified, compare_files, recorded_in
from poolwise.jobs import Job, JobKind, JobState
from poolwise.jobs.state import damage, model_checksums
from poolwise.records import load_record
from poolwise.storage.checksums import MISSING, files_below
from poolwise.storage.fingerprints import ABOUT, SUMS
from poolwise.study.folders import read_json
from poolwise.study.plan import SCREEN_FOLDER
from poolwise.study.shortlist import FILE as SHORTLIST

_AGAIN = "run the same command again: it runs the jobs of damaged files again, and keeps the others"
_REPORTS = {"report.html", "report.md", "report.tex", "page.html"}
_OWN = {"study.json", "plan.json", "results.json", SUMS, SHORTLIST, "schedules", "texts", *_REPORTS}


def verify_study(folder: Path) -> Verified:
    """Compare what the finished jobs of a study or a screen wrote, and the study's own files; a screen in it too."""
    recorded, damaged = recorded_in(folder)
    has_sums = bool(recorded or damaged)
    known = set(_OWN)
    try:
        plan = read_json(folder / "plan.json")
        planned, kind = [(str(job["id"]), str(job["label"])) for job in plan["jobs"]], str(plan["kind"])
    except (EvalError, KeyError, TypeError):
        planned, kind = [(path.stem, path.stem) for path in sorted((folder / "jobs").glob("*.json"))], "study"
        damaged["plan.json"] = "is missing or no plan of a study"
    num_done = num_old = 0
    for id, label in planned:
        path = folder / "jobs" / f"{id}.json"
        known |= {path.relative_to(folder).as_posix(), f"jobs/{id}.traceback.txt"}
        if not path.is_file():
            continue
        try:
            state = load_record(JobState, path)
        except EvalError:
            damaged[path.relative_to(folder).as_posix()] = f"is no record of a job: {label}"
            continue
        num_done += state.status == "done"
        num_old += state.status == "done" and state.outputs is None
        written, bad = _written(folder, id, label, state)
        recorded, damaged, known = recorded | written, damaged | bad, known | _beside(folder, written)
        for model, weights in model_checksums(written).items():
            damaged |= damaged_beside(folder, model, weights)
    notes = []
    if not has_sums:
        if num_done == len(planned) and not num_old and (folder / "results.json").is_file():
            damaged[SUMS] = MISSING
        else:
            notes.append(f"no {SUMS}: the study is not finished, or an older version ran")
    if num_done < len(planned):
        notes.append(f"{num_done} of {len(planned)} jobs are done")  # all that are needed, where seeds decided it early
        known |= _unfinished(folder)
    if num_old:
        notes.append(f"{num_old} jobs are of an older version, without checksums: their files cannot be checked")
        known |= {"runs", "adapted", "tuning"}
    if (folder / SCREEN_FOLDER / "study.json").is_file():
        screen = verify_study(folder / SCREEN_FOLDER)
        damaged |= {f"{SCREEN_FOLDER}/{name}": problem for name, problem in screen.damaged.items()}
        known.add(SCREEN_FOLDER)
    found = compare_files(kind, folder, recorded, _AGAIN, damaged=damaged, known=known, notes=notes)
    # The same command refuses a folder of another recipe.
    recipes = [name for name in found.damaged if name.endswith("study.json") and (folder / name).exists()]
    return found.model_copy(update={"repair": f"delete {' and '.join(recipes)}, then {_AGAIN}"}) if recipes else found


def _written(folder: Path, id: str, label: str, state: JobState) -> tuple[dict[str, str], dict[str, str]]:
    """Return the checksums of what a finished job wrote, and what is wrong with it.

    A pass of a screen may have deleted its states, once nothing reads them any more.
    """
    outputs = dict(state.outputs or {})
    if state.status != "done":
        return {}, {}
    kind, _, key = id.partition("-")
    run = next((parts[1] for name in outputs if (parts := name.split("/"))[0] == "runs"), "")
    bad = damage(folder, Job(cast(JobKind, kind), label, 0, key, run))
    if kind == "pass":
        outputs = {name: known for name, known in outputs.items() if (folder / name).is_file()}
        bad = {name: problem for name, problem in bad.items() if name in outputs}
    return outputs, bad


def _beside(folder: Path, written: dict[str, str]) -> set[str]:
    """Return the files without checksums beside those that a job wrote: the manifest of a run, cards, checksums."""
    homes = {parent for name in written for parent in (folder / name).parents if parent.is_relative_to(folder)}
    names = {*ABOUT, "run.json"}
    found = {home / name for home in homes - {folder} for name in names}
    return {path.relative_to(folder).as_posix() for path in found}


def _unfinished(folder: Path) -> set[str]:
    """Return the files of runs that have begun: those of a job that is not done belong to nobody yet."""
    runs = [path for name in ("runs", "adapted", "tuning") for path in (folder / name).glob("*") if path.is_dir()]
    begun = [run for run in runs if not (run / "run.json").is_file() or not (run / "items").is_dir()]
    return {path.relative_to(folder).as_posix() for run in begun for path in files_below(run)}


def verify_experiment(folder: Path) -> Verified:
    """Compare each line of an experiment's log with its checksum, and the design with the log."""
    from poolwise.experiments.design import DESIGN
    from poolwise.experiments.log import EVENTS, SET_ASIDE, read_log

    damaged: dict[str, str] = {}
    num_lines = 0
    try:
        contents = read_log(folder)
        num_lines = len(contents.events)
        for problem in contents.problems:
            line, _, words = problem.removeprefix(f"{folder / EVENTS}:").partition(": ")
            damaged[f"{EVENTS}:{line}"] = words
    except ConfigError as error:
        damaged[DESIGN] = error.got.removeprefix(f"{folder / DESIGN} ")
    found = compare_files(
        "experiment",
        folder,
        {},
        "take the damaged file from a copy; lines that were cut or changed are left out of every analysis",
        damaged=damaged,
        known={DESIGN, EVENTS, SET_ASIDE},
    )
    return found.model_copy(update={"facts": {"events": num_lines}})
