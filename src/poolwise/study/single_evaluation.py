"""Evaluates one model outside a study, with the same code and records; the model is read as it was saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from poolwise.config import EvalConfig, Prompts, build_section
from poolwise.errors import ConfigError, nearest
from poolwise.jobs import Report
from poolwise.prompts import category_prompts
from poolwise.records import CATEGORIES, Category, Cost, ItemScores, RunManifest, bound_files, load_record, save_record
from poolwise.storage.checksums import add_checksums
from poolwise.storage.lock import locked
from poolwise.storage.new_folders import require_new_folder
from poolwise.study.folders import ANOTHER, differing_keys, read_json, require_writable, write_json
from poolwise.study.jobs import evaluate_run
from poolwise.wording import without_home

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from poolwise.tasks import Task

EVALUATION = "evaluation.json"
"""The file with the settings that all scores in a folder share; scores added later must have the same."""


def parse_prompts(options: Sequence[str]) -> dict[Category, Prompts]:
    """Return the prompts given as ``query=TEXT``, ``document=TEXT`` or ``CATEGORY.query=TEXT``.

    Without a category, a prompt applies to all categories.

    Raises: ConfigError for another key, or without ``=``.
    """
    sides = ("query", "document")
    found: dict[str, dict[str, str]] = {}
    for option in options:
        key, sign, text = option.partition("=")
        category, _, side = key.rpartition(".")
        if not sign or side not in sides or (category and category not in CATEGORIES):
            raise ConfigError(
                f"--prompt {option!r}",
                "wanted query=TEXT, document=TEXT, or with a category, such as sts.query=TEXT",
                nearest(category, CATEGORIES) if category else "",
            )
        for name in [category] if category else CATEGORIES:
            found.setdefault(name, {})[side] = text
    return {
        category: build_section(Prompts, found[category], "--prompt") for category in CATEGORIES if category in found
    }


def evaluate_single(
    model: str | SentenceTransformer,
    tasks: Sequence[str],
    out: Path | None,
    max_items: int | None,
    config: EvalConfig,
    report: Report,
    prompts: Mapping[Category, Prompts] | None = None,
    device: str | None = None,
) -> tuple[RunManifest, list[ItemScores]]:
    """Evaluate any embedding model on tasks; write a run into ``out`` that ``compare`` reads.

    The maximum length and the prompts are those saved with the model. Precision "auto" is what a study uses for
    poolwise models, and fp32 for others.

    Args:
        model: a folder or hub id, or the loaded model.
        out: None writes nothing.
        config: ``max_tokens`` None keeps the model's own length.
        prompts: prompts by category that replace the model's own; empty for none.
    Raises: ConfigError where ``out`` holds scores of another model or of other settings, or is in use; DataError where
        a task cannot be used, before the model is loaded.
    """
    from poolwise.kernels.devices import require_device
    from poolwise.models import own_folder
    from poolwise.models.load import stored_settings

    require_device(device)
    name = model if isinstance(model, str) else _model_name(model)
    folder = own_folder(name) if isinstance(model, str) else None
    if prompts is None:
        stored = stored_settings(name, folder) if isinstance(model, str) else vars(model)
        prompts = category_prompts(stored.get("prompts") or {}, stored.get("default_prompt_name"))
    spec = _evaluation_spec(name, folder, config, prompts)
    settings = (folder, max_items, config, prompts, device)
    if out is None:
        return _evaluate(model, tasks, None, settings, report, spec)
    _check_evaluation(spec, name, out)
    with locked(out):
        _check_evaluation(spec, name, out)  # once more: another process may have begun an evaluation since
        return _evaluate(model, tasks, out, settings, report, spec)


def _evaluate(
    model: str | SentenceTransformer,
    tasks: Sequence[str],
    out: Path | None,
    settings: tuple[Path | None, int | None, EvalConfig, Mapping[Category, Prompts], str | None],
    report: Report,
    spec: Mapping[str, object],
) -> tuple[RunManifest, list[ItemScores]]:
    from poolwise.encoding.encoder import ModelEncoder
    from poolwise.models import count_trainable, design_of
    from poolwise.models.load import load_any, load_foreign
    from poolwise.study.provenance import versions
    from poolwise.tasks import load_tasks, save_texts

    folder, max_items, config, prompts, device = settings
    name = model if isinstance(model, str) else _model_name(model)
    loaded = load_tasks(tasks, max_items=max_items, prompts=prompts)
    precision = "fp32" if config.precision == "auto" and folder is None else config.precision
    if not isinstance(model, str):
        encoding = model
    elif folder is not None:
        encoding = load_any(str(folder), precision, config.max_tokens, device=device)
    else:
        # Not load_any, which would ask the hub once more whether the model is ours.
        encoding = load_foreign(name, precision, config.max_tokens, device)
    manifest = RunManifest(
        name=_short_name(name),
        kind="external",
        design=str(design_of(encoding)) if folder else None,
        model=without_home(name),
        trainable_parameters=count_trainable(encoding) if folder else None,
        versions=versions(),
    )
    if (trained := Path(name) / "run.json").is_file():
        manifest = load_record(RunManifest, trained)
    said = describe_reading(encoding, precision, loaded)
    manifest = manifest.model_copy(update={"notes": [*(n for n in manifest.notes if n != said), said]})
    if out is not None:
        write_json(out / EVALUATION, spec)
        save_texts(loaded, out)
    encoder = ModelEncoder(encoding, batch_size=config.batch_size)
    scores = evaluate_run(encoder, loaded, out, report)
    update = Cost(eval_seconds=encoder.seconds, encode_texts_per_second=encoder.texts_per_second)
    if encoder.num_encoded:
        cost = manifest.cost.model_copy(update=update.model_dump(exclude_none=True))
        manifest = manifest.model_copy(update={"cost": cost})
    if out is not None:
        save_record(manifest, out / "run.json")
        add_checksums(out, bound_files(out))
    return manifest, scores


def describe_reading(model: SentenceTransformer, precision: str, tasks: Sequence[Task]) -> str:
    """Return one line on how an evaluation reads texts: length, precision and its rounding, prompts of the tasks."""
    from poolwise.kernels.precision import uses_bf16

    lowers = uses_bf16(precision, model.device)  # type: ignore[arg-type]
    noise = ", whose rounding moves scores by up to about 0.004 against fp32" if lowers else ""
    # Tasks may have prompts of their own, so the prompts that were used are those of the tasks.
    told = {f"{task.category} {side} {text!r}": None for task in tasks for side, text in task.prompts if text}
    return (
        f"texts are truncated to {model.max_seq_length} tokens and computed in {'bf16' if lowers else 'fp32'}{noise}; "
        f"prompts: {', '.join(told) or 'none'}"
    )


def _model_name(model: SentenceTransformer) -> str:
    card = model.model_card_data
    return str(card.model_id or card.base_model or type(model).__name__)


def _short_name(name: str) -> str:
    path = Path(name)
    return path.resolve().name if path.exists() else name


def _evaluation_spec(
    name: str, folder: Path | None, config: EvalConfig, prompts: Mapping[Category, Prompts]
) -> dict[str, object]:
    """Return the settings that all scores in one folder must share; tasks are checked by their fingerprints."""
    from poolwise.storage.fingerprints import fingerprint_folder

    place = folder or Path(name)
    model = fingerprint_folder(place) if place.is_dir() else name
    told = {category: p.model_dump() for category, p in prompts.items()}
    return {"model": model, "max_tokens": config.max_tokens, "precision": config.precision, "prompts": told}


def _check_evaluation(spec: Mapping[str, object], name: str, out: Path) -> None:
    path, run = out / EVALUATION, out / "run.json"
    hint = "give another --out"
    if path.is_file():
        if differing := differing_keys(spec, read_json(path, ANOTHER)):
            named = ", ".join(differing)
            raise ConfigError(f"{out} holds the scores of another evaluation: {named} differ(s)", hint=hint)
    elif run.is_file():
        # A model may be evaluated into its own training folder, unless a study has already evaluated it there.
        if Path(name).resolve() != out.resolve() or (out / "items").is_dir():
            raise ConfigError(f"{out} holds the run of {load_record(RunManifest, run).model}", hint=hint)
    else:
        require_new_folder(out, "evaluation")
    require_writable(out)
