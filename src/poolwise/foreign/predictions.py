"""Reads mteb's prediction folders: rankings are scored with judgements; other predictions lack the labels they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poolwise.errors import EvalError, collect
from poolwise.foreign.mteb_tasks import guess_category, known_task
from poolwise.foreign.qrels import Qrels, match_qrels, score_rankings
from poolwise.foreign.source import Source, as_score, foreign_run, read_json
from poolwise.records import Category, ItemScores

META = "mteb_model_meta"
SUFFIX = "_predictions.json"
SUBSETS = ("default", "en", "en-en")
WITHOUT_LABELS = (
    "similarities, classes or clusters without the task's labels: run `poolwise eval` to get scores of items"
)
WITHOUT_QRELS = "rankings without judgements: give --qrels FILE"


def prediction_paths(folder: Path) -> list[Path]:
    """Return the prediction files in a folder and its subfolders."""
    return sorted([*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*/*{SUFFIX}")])


def read_predictions(folder: Path, everyone: Sequence[Qrels]) -> Source:
    """Return the scores per query of a model's predictions, by the judgements.

    A file that cannot be read is set aside; if all are, the source has no run.

    Raises: EvalError where the folder holds several models or two predictions of a task, or no judgements match.
    """
    source = Source(folder, "mteb-predictions")
    records: dict[str, ItemScores] = {}
    models: dict[str, str] = {}
    first: dict[str, Path] = {}
    for path in prediction_paths(folder):
        task = path.name.removesuffix(SUFFIX)
        try:
            meta, rankings = _read(path, task)
        except EvalError as error:
            source.set_aside(error)
            continue
        if (earlier := first.setdefault(task, path)) != path:
            raise EvalError(f"{earlier} and {path} are two predictions of {task}", "wanted the folder of one revision")
        models[str(meta.get("model_name") or folder.name)] = str(meta.get("revision") or "not stated")
        if rankings is None or not everyone:
            source.leave_out(WITHOUT_LABELS if rankings is None else WITHOUT_QRELS, task)
            continue
        judged = match_qrels(rankings, task, everyone, path)
        record, notes = score_rankings(rankings, judged, next(reversed(models)), _category(task))
        record = record.model_copy(update={"task": f"{record.category}/{task}"})
        records[record.task] = record
        source.notes += notes
    if len(models) > 1:
        raise EvalError(f"{folder} holds predictions of {', '.join(models)}", "wanted one folder per model")
    for name, revision in models.items():
        source.revisions = {name: [revision]}
        source.runs = [foreign_run(name, records)] if records else []
    return source


def _read(path: Path, task: str) -> tuple[Mapping[str, Any], dict[str, dict[str, float]] | None]:
    """Return what a file states about its model, and its ranking; None if the predictions are not rankings.

    Raises: EvalError where the file is not JSON or has another layout, or a score is not a finite number.
    """
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get(META) or {}, dict):
        raise EvalError(f"{path} is not a file of mteb predictions", "wanted {subset: {split: predictions}}")
    if not any(isinstance(splits, dict) for name, splits in data.items() if name != META):
        raise EvalError(f"{path} holds no predictions", "wanted {subset: {split: predictions}}")
    return data.get(META) or {}, _rankings(data, task, path)


def _category(task: str) -> Category:
    known = known_task(task)
    category = known.category if known else guess_category(task, {"ndcg_at_10": 0.0})
    return "reranking" if category == "reranking" else "retrieval"


def _rankings(data: Mapping[str, Any], task: str, path: Path) -> dict[str, dict[str, float]] | None:
    """Return the ranking of the evaluated split of the English subset; None if the predictions are not rankings.

    Raises: EvalError where a score is not a finite number.
    """
    known = known_task(task)
    subsets = {name: splits for name, splits in data.items() if name != META and isinstance(splits, dict)}
    subset = next((subsets[name] for name in (known.subsets if known else ()) + SUBSETS if name in subsets), None)
    found = (subset or {}).get(known.splits[0] if known else "test")
    if not isinstance(found, dict) or not found or not all(isinstance(row, dict) for row in found.values()):
        return None
    problems, rankings = [], {}
    for query, row in found.items():
        rankings[query] = {name: score for name, value in row.items() if (score := as_score(value)) is not None}
        bad = [name for name in row if not abs(rankings[query].get(name, float("nan"))) < float("inf")]
        problems += [f"query {query}, document {name}: score {row[name]}" for name in bad]
    collect(problems, EvalError, f"{path} holds scores that are not finite numbers")
    return rankings
