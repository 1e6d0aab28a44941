"""The evaluation of an entrant on a study's tasks, with its own prompts and length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from poolwise.config import Prompts, Recipe
from poolwise.encoding.encoder import ModelEncoder
from poolwise.jobs import Report
from poolwise.prompts import category_prompts
from poolwise.records import Category, Cost, RunManifest, save_items, save_record
from poolwise.study.entrants import Entrant, load_entrant
from poolwise.study.jobs import evaluate_run
from poolwise.study.provenance import versions
from poolwise.study.single_evaluation import describe_reading
from poolwise.tasks import Task, load_tasks


def own_prompts(entrant: Entrant) -> dict[Category, Prompts]:
    """Return the prompts that an entrant was saved with, by category."""
    from poolwise.models.load import stored_settings
    from poolwise.models.saved_folder import own_folder

    stored = stored_settings(entrant.folder, own_folder(entrant.folder))
    return category_prompts(stored.get("prompts") or {}, stored.get("default_prompt_name"))


def evaluate_entrant(entrant: Entrant, tasks: Sequence[Task], recipe: Recipe, folder: Path, report: Report) -> None:
    """Evaluate an entrant on the study's tasks with its own prompts, and write its run.

    Its records carry the fingerprints of the study's tasks: items and labels are the same, and only the prompts differ,
    which belong to the model here. The records' settings hold the prompts that were used.

    Args:
        tasks: the study's, with the recipe's prompts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = _with_prompts(tasks, own_prompts(entrant), recipe)
    model, precision = load_entrant(entrant, recipe)
    encoder = ModelEncoder(model, batch_size=recipe.eval.batch_size)
    scores = evaluate_run(encoder, own, folder, report)
    for task, record in zip(tasks, scores, strict=True):
        save_items(record.model_copy(update={"fingerprint": task.fingerprint}), folder)
    cost = Cost(eval_seconds=encoder.seconds, encode_texts_per_second=encoder.texts_per_second)
    manifest = RunManifest(
        name=entrant.name,
        kind="anchor",
        model=entrant.pinned,
        notes=[describe_reading(model, precision, own)],
        versions=versions(),
        cost=cost if encoder.num_encoded else Cost(),
    )
    save_record(manifest, folder / "run.json")


def _with_prompts(tasks: Sequence[Task], prompts: Mapping[Category, Prompts], recipe: Recipe) -> Sequence[Task]:
    """Return the tasks with a model's prompts; prompts in a task's own file take precedence, as for every model."""
    used = {category: found for category, found in recipe.prompts.items() if found != Prompts()}
    if used == prompts:
        return tasks
    return load_tasks(recipe.tasks, max_items=recipe.max_items, prompts=prompts)
