"""Reads runs and studies of poolwise, with what a study declares about its tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from poolwise.errors import EvalError
from poolwise.foreign.source import Source, read_json
from poolwise.records import load_run, planned_runs, seed_of_folder
from poolwise.stats.core.spending import FIRST_LOOK, look_shares
from poolwise.stats.designs.verdict import ALPHA
from poolwise.storage.json_text import load_json


def read_own(path: Path, folders: Sequence[Path]) -> Source:
    """Return the runs in the folders of a study, or of single runs below ``path``.

    Raises: EvalError where the plan or the recipe of the study is damaged; damaged runs are set aside.
    """
    planned, names = planned_runs(path), {folder.name for folder in folders}
    # In the study's order, which decides `a` and `b` of a contrast.
    places = {name: place for place, name in enumerate(planned or [])}
    ordered = sorted(folders, key=lambda folder: places.get(folder.name, 0))
    source = Source(path, "poolwise")
    for folder in ordered:
        num_damaged = len(source.damaged)
        try:
            run = load_run(folder, source.set_aside)
        except EvalError as error:
            source.set_aside(error)
            continue
        if run.scores or len(source.damaged) == num_damaged:
            source.runs.append(run)
    gone = {} if planned is None else _gone(path, set(planned))
    told = [damage.got for damage in source.damaged]
    for lost in (one for errors in gone.values() for one in errors):
        if not any(lost.got.removesuffix(_LOST) in text for text in told):
            source.set_aside(lost)
    recipe = _recipe(path / "study.json")
    if planned is not None and not recipe:
        source.notes.append(f"{path / 'study.json'} is missing, so {path} declares no reference and no comparisons")
    _declare(source, recipe)
    if recipe.get("until_decided"):
        _keep_to_a_look(source, recipe, [name for name in planned or [] if name not in gone or name in names], names)
    else:
        for name in (name for name in planned or [] if name not in names and name not in gone):
            source.leave_out("not run yet", name)
    for folder in sorted(path.glob("runs/*/run.json")) if planned is not None else ():
        if folder.parent.name not in names:
            source.leave_out("not in the study's present plan", folder.parent.name)
    return source


_LOST = " is missing, though a job of the study wrote it"


def _gone(path: Path, planned: Container[str]) -> dict[str, list[EvalError]]:
    """Return an error for each file of scores of a study that a finished job wrote and that is gone, by the run.

    Of a run without its ``run.json``, that alone is named.
    """
    found: dict[str, list[EvalError]] = {}
    try:
        listed = [path / "jobs" / f"{job['id']}.json" for job in load_json(path / "plan.json")["jobs"]]
    except (OSError, ValueError, LookupError, TypeError):
        return {}  # an older version listed none
    for job in listed:
        try:
            outputs = [*load_json(job)["outputs"]]
        except (OSError, ValueError, LookupError, TypeError):
            continue  # not done, or damaged, which the study says and runs the job again
        lost = [name for name in outputs if name.startswith("runs/") and not (path / name).is_file()]
        for name in lost:
            run, _, rest = name.removeprefix("runs/").partition("/")
            if run not in planned or not (rest == "run.json" or rest.endswith(".json.gz")):
                continue  # weights are not compared
            if rest == "run.json" or f"runs/{run}/run.json" not in lost:
                error = EvalError(f"{path / name}{_LOST}")
                found.setdefault(run, []).append(error)
    return found


def _recipe(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    recipe = read_json(path)
    needed = ("comparisons", "designs", "seeds") if isinstance(recipe, dict) and recipe.get("until_decided") else ()
    is_recipe = isinstance(recipe, dict) and not recipe.keys().isdisjoint({"comparisons", "designs"})
    if not is_recipe or not all(isinstance(recipe.get(key), list) for key in needed) or not _has_types(recipe):
        # Which tests are made and corrected together depends on it, so it cannot be left out.
        raise EvalError(
            f"{path} is not the recipe of a study",
            "wanted the recipe, which declares the reference and the comparisons",
            "delete it and run the study again: finished jobs are kept",
        )
    return dict(recipe)


def _has_types(recipe: dict[str, Any]) -> bool:
    """Return whether the keys that are read hold texts and whole numbers."""
    texts = [recipe.get("reference") or "", *_listed(recipe, "comparisons"), *_listed(recipe, "designs")]
    return all(isinstance(text, str) for text in texts) and all(type(seed) is int for seed in _listed(recipe, "seeds"))


def _listed(recipe: dict[str, Any], key: str) -> list[Any]:
    return found if isinstance(found := recipe.get(key), list) else []


def _declare(source: Source, recipe: dict[str, Any]) -> None:
    if isinstance(recipe.get("comparisons"), list):
        source.declared = (recipe.get("reference"), recipe["comparisons"])
        source.family = "category" if recipe.get("family") == "category" else "all"


def _keep_to_a_look(source: Source, recipe: dict[str, Any], planned: Sequence[str], names: set[str]) -> None:
    """Use the seeds of the last finished look of a study with ``until_decided``, at that look's part of 0.05.

    Before the first look is finished, its part is used with the runs that are there.
    """
    seeds, num_designs = list(recipe["seeds"]), len(recipe["designs"])
    trained = Counter(run.manifest.seed for run in source.runs if run.manifest.kind != "anchor" and run.scores)
    whole = next((n for n, seed in enumerate(seeds) if trained[seed] < num_designs), len(seeds))
    size = max(whole, FIRST_LOOK)
    source.share = look_shares(len(seeds))[size]
    source.notes.append(
        f"{source.path} is a study with until_decided: judged after {size} of at most {len(seeds)} seeds, "
        f"with {ALPHA * source.share:.2g} of the {ALPHA:g}"
    )
    later = set(seeds[size:])
    for name in planned:
        is_later = seed_of_folder(name) in later
        if is_later and name in names:
            source.leave_out("of a seed after the last finished look", name)
        elif not is_later and name not in names:
            source.leave_out("not run yet", name)
    source.runs = [run for run in source.runs if run.manifest.kind == "anchor" or run.manifest.seed not in later]
