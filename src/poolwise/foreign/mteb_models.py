"""Reads a folder of MTEB results of one model: all its revisions together; for each task the newest result wins."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from poolwise.errors import EvalError, collect
from poolwise.foreign.benchmarks import DEFAULT, Benchmark, Scope
from poolwise.foreign.mteb_files import Absent, Finding, ResultFile, parse_result, score_of
from poolwise.foreign.source import Source, foreign_run, read_json, score_record
from poolwise.records import Category, ItemScores

NO_RESULT = "not an MTEB result"
META = "model_meta.json"
EXTERNAL = "external"
PREDICTIONS = "_predictions.json"
REVISION = re.compile(r"[0-9a-f]{7,40}|external|main|no_revision\w*|v?\d[\d._-]*")
"""The names of a model's subfolders that are revisions."""


def result_paths(folder: Path) -> list[Path]:
    """Return the files that may be results of the model in ``folder``: in the folder and in its revisions."""
    found = [*folder.glob("*.json"), *folder.glob("*/*.json")]
    return sorted(path for path in found if path.name != META and not path.name.endswith(PREDICTIONS))


def read_mteb(folder: Path, include_external: bool, scope: Scope = DEFAULT) -> Source | None:
    """Return the scores of one model that are in the scope, or None if the folder holds no JSON or several models.

    A file that cannot be read is set aside, one that is no result is left out; if all are, the source has no run.

    Raises: EvalError where a score is not finite.
    """
    source = Source(folder, "mteb-results")
    names = _stated_names(folder, source)
    if not _is_one_model(folder, names):
        return None
    files = _load(folder, source)
    if not files:
        return source if source.damaged or source.left_out else None
    model = _model_name(folder, names)
    for name in sorted({file.task for file in files if not scope.has(file.task)}):
        source.leave_out(f"not in {scope.benchmark.name if scope.benchmark else ''}", name)
    files = [file for file in files if scope.has(file.task)]
    evaluated = [file for file in files if file.revision != EXTERNAL]
    reported = [file for file in files if file.revision == EXTERNAL]
    chosen = _newest(evaluated, model, source, scope)
    if reported:
        _add_external(chosen, reported, include_external, model, source, scope)
    if scope.benchmark:
        chosen = _with_wholes(chosen, scope.benchmark, source)
    bad = [f"{f.file.path}: score {f.score}" for f in chosen.values() if not math.isfinite(f.score)]
    collect(bad, EvalError, "scores are not finite", "evaluate the model on these tasks again")
    source.notes += [f"{model}: {finding.file.task} is {finding.note}" for finding in chosen.values() if finding.note]
    _describe(source, model, chosen.values())
    records = dict(_record(finding, finding.category) for finding in chosen.values() if finding.category)
    source.runs = [foreign_run(model, records)] if records else []
    others = {finding.file.task: [finding.score] for finding in chosen.values() if finding.category is None}
    source.other_scores = {model: others} if others else {}
    return source


def _with_wholes(chosen: dict[str, Finding], benchmark: Benchmark, source: Source) -> dict[str, Finding]:
    """Return the scores of a benchmark's tasks: one that lacks a score but has all its parts gets their mean."""
    for task in benchmark.tasks.values():
        parts = [chosen[part] for part in task.parts if part in chosen]
        if task.name not in chosen and parts and len(parts) == len(task.parts):
            mean = math.fsum(part.score for part in parts) / len(parts)
            chosen[task.name] = replace(parts[0], file=replace(parts[0].file, task=task.name), score=mean, note="")
            source.notes.append(f"{task.name} is the mean of its {len(parts)} parts, as in MTEB")
    return {name: finding for name, finding in chosen.items() if name in benchmark.tasks}


def _stated_names(folder: Path, source: Source) -> dict[Path, str]:
    """Return the name of the model that each folder of results states, empty if it states none."""
    names: dict[Path, str] = {}
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        names[place] = ""
        if not (path := place / META).is_file():
            continue
        try:
            data = read_json(path)
        except EvalError as error:
            source.set_aside(error)
            continue
        names[place] = str(data.get("name") or "") if isinstance(data, dict) else ""
        if not names[place]:
            source.set_aside(EvalError(f"{path} does not name a model"))
    return names


def _is_one_model(folder: Path, names: Mapping[Path, str]) -> bool:
    """Return whether the subfolders are revisions of one model, not models without revisions."""
    below = {path.parent for path in result_paths(folder)} - {folder}
    stated = {names[path] for path in below} - {""}
    return len(stated) <= 1 and all(names[path] or REVISION.fullmatch(path.name) for path in below)


def _load(folder: Path, source: Source) -> list[ResultFile]:
    files: list[ResultFile] = []
    for path in result_paths(folder):
        try:
            revision = path.parent.name if path.parent != folder or path.parent.name == EXTERNAL else folder.name
            file = parse_result(read_json(path), path, revision)
        except EvalError as error:
            source.set_aside(error)
            continue
        if file is None:
            source.leave_out(NO_RESULT, str(path.relative_to(folder)))
        else:
            files.append(file)
    return files


def _model_name(folder: Path, names: Mapping[Path, str]) -> str:
    if stated := next(filter(None, names.values()), ""):
        return stated
    name = folder.resolve().name
    # The folder of a revision is named by its hash; the model's name is that of the parent folder.
    is_revision = REVISION.fullmatch(name) is not None
    return (folder.resolve().parent.name if is_revision else name).replace("__", "/")


def _newest(files: Sequence[ResultFile], model: str, source: Source, scope: Scope) -> dict[str, Finding]:
    """Return the score of each task from the newest file that has one; older scores go to the notes."""
    chosen: dict[str, Finding] = {}
    absent: list[Absent] = []
    for file in sorted(files, key=lambda file: file.age, reverse=True):
        found = score_of(file, scope)
        if isinstance(found, Absent):
            absent.append(found)
        elif (newer := chosen.setdefault(file.task, found)) is not found and newer.score != found.score:
            source.notes.append(
                f"{model}: {file.task} is {newer.score:.4f} in revision {newer.file.revision[:8]} (newer file, used); "
                f"{file.revision[:8]} has {found.score:.4f}"
            )
    for missing in absent:
        if missing.file.task not in chosen:
            source.leave_out(missing.reason, missing.file.task)
    return chosen


def _add_external(
    chosen: dict[str, Finding],
    files: Sequence[ResultFile],
    is_included: bool,
    model: str,
    source: Source,
    scope: Scope,
) -> None:
    fresh = [file for file in files if file.task not in chosen]
    if not is_included:
        names = [file.task for file in files]
        only = f"; {len(fresh)} of them are only there" if fresh else ""
        source.left_out[f"self-reported (external) scores, read with --include-external{only}"] = names
        return
    added = _newest(fresh, model, source, scope)
    chosen |= added
    if added:
        source.notes.append(f"{model}: self-reported and not checked (external): {', '.join(sorted(added))}")
    if repeated := [file.task for file in files if file not in fresh]:
        source.left_out["self-reported (external) scores that a revision also has"] = repeated


def _describe(source: Source, model: str, chosen: Iterable[Finding]) -> None:
    by_revision: dict[str, int] = {}
    for finding in chosen:
        by_revision[finding.file.revision] = by_revision.get(finding.file.revision, 0) + 1
    source.revisions = {model: list(by_revision)}
    source.details["tasks_by_revision"] = by_revision
    source.details["layouts"] = sorted({finding.file.layout for finding in chosen})


def _record(finding: Finding, category: Category) -> tuple[str, ItemScores]:
    settings: dict[str, object] = {
        "dataset_revision": finding.file.data_revision,
        "model_revision": finding.file.revision,
        "mteb_version": finding.file.version,
    }
    if finding.cosine_ap is not None:
        settings["cosine_ap"] = finding.cosine_ap
    name = f"{category}/{finding.file.task}"
    fingerprint = f"mteb {finding.where}"
    return name, score_record(name, category, finding.metric, finding.score, fingerprint, settings)
