"""Trains or evaluates one model outside a study, with the same recipe keys, code and records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poolwise.config import EvalConfig, Prompts, Recipe, TrainConfig, build_recipe, build_section
from poolwise.design import Design, parse_design
from poolwise.errors import ConfigError, nearest
from poolwise.jobs import Report
from poolwise.overrides import apply_override, set_key
from poolwise.prompts import category_prompts
from poolwise.records import CATEGORIES, Category, Cost, ItemScores, RunManifest, load_record, save_record
from poolwise.study.folders import read_json, require_empty, require_writable, write_json
from poolwise.study.jobs import evaluate_run, train_run

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

EVALUATION = "evaluation.json"
"""The file with the settings that all scores in a folder share; scores added later must have the same."""

_READ = ("base", "data", "train", "prompts", "eval")
"""The keys of a recipe that a single training reads."""


@dataclass(frozen=True)
class SingleRun:
    """The checked settings of ``poolwise train``: a recipe with one design and one seed."""

    recipe: Recipe

    @property
    def design(self) -> Design:
        """The design to train."""
        return parse_design(self.recipe.designs[0])

    @property
    def seed(self) -> int:
        """The seed of batches, LoRA, dropout and head."""
        return self.recipe.seeds[0]

    @property
    def spec(self) -> dict[str, object]:
        """The settings as JSON; a run resumes only with an equal spec."""
        read = self.recipe.model_dump(mode="json", include=set(_READ) - {"eval"})
        return read | {"design": str(self.design), "seed": self.seed, "max_tokens": self.recipe.max_tokens}


def build_single_run(
    design: str,
    base: str,
    data: Sequence[str | Mapping[str, object]],
    steps: int | None,
    seed: int,
    max_rows: int | None,
    overrides: Sequence[str],
    settings: Mapping[str, object] | None = None,
) -> SingleRun:
    """Return a checked run from command-line values.

    Args:
        data: training sources: names, or any value of a recipe's ``data.train``.
        overrides: ``key=value`` with the recipe keys that training reads; the prefix ``train.`` may be left out.
        settings: the same keys with parsed values.
    Raises: ConfigError for an unknown design or key, naming the nearest, or a key that training does not read.
    """
    name = str(parse_design(design))
    tree: dict[str, object] = {
        "name": "train",
        "base": base,
        "designs": [name],
        "reference": name,
        "seeds": [seed],
        "data": {"train": list(data), "max_rows": max_rows},
        "train": {} if steps is None else {"steps": steps},
        "tasks": ["none"],
    }
    for override in overrides:
        key, sign, value = override.partition("=")
        apply_override(tree, f"{_full_key(key.strip())}{sign}{value}", Recipe)
    for key, given in (settings or {}).items():
        set_key(tree, _full_key(key).split("."), given)
    return SingleRun(build_recipe(tree, "train"))


def _full_key(key: str) -> str:
    """Return a key with its section; keys of ``train`` may come without."""
    first = key.partition(".")[0]
    if first in _READ:
        return key
    if first in Recipe.model_fields:
        raise ConfigError(
            f"--set {key}: not used by a single training",
            f"wanted a key of {', '.join(_READ)}",
            "poolwise study uses all keys of a recipe",
        )
    if key not in TrainConfig.model_fields:
        raise ConfigError(f"--set: unknown key {key!r}", nearest(key, [*_READ, *TrainConfig.model_fields]))
    return f"train.{key}"


def train_single(
    run: SingleRun,
    out: Path,
    report: Report,
    device: str | None = None,
    on_note: Callable[[str], None] | None = None,
) -> RunManifest:
    """Train one design into ``out``; a finished run is returned, an unfinished one resumes.

    Args:
        on_note: called with a line per training source that says how it was read.
    Raises: ConfigError where ``out`` holds another run.
    """
    from poolwise.data import build_schedule, describe_sources
    from poolwise.kernels.devices import require_device
    from poolwise.models import pinned_base, resolve_base
    from poolwise.study.inputs import StudyInputs, load_training, source_categories
    from poolwise.study.plan import InputHashes

    require_device(device)
    recipe = run.recipe
    _check_training(run, out)
    if (out / "run.json").is_file() and (out / "model").is_dir():
        return load_record(RunManifest, out / "run.json")
    training = load_training(recipe.data)
    for note in describe_sources(training) if on_note else ():
        on_note(note)  # type: ignore[misc]
    resolve_base(recipe.base)
    schedule = build_schedule(
        training.triples, steps=recipe.train.steps, batch_size=recipe.train.batch_size, seed=run.seed
    )
    inputs = StudyInputs(
        base=pinned_base(recipe.base),
        triples=training.triples,
        source_category=source_categories(recipe),
        prompts=recipe.prompts,
        schedules={run.seed: schedule},
        tasks=[],
        dev=[],
        hashes=InputHashes(recipe.base, training.fingerprints, {run.seed: schedule.hash}, {}, {}),
    )
    write_json(out / "spec.json", run.spec)
    return train_run(run.design, inputs, recipe.train, schedule, run.seed, out, report, recipe.max_tokens, device)


def _check_training(run: SingleRun, out: Path) -> None:
    path = out / "spec.json"
    if not path.is_file():
        require_empty(out, "training run")
    elif differing := _differing(run.spec, read_json(path)):
        raise ConfigError(
            f"{out} holds another training run: {', '.join(differing)} differ(s)",
            hint="give another --out, or the same options",
        )
    require_writable(out)


def _differing(mine: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    return sorted(key for key in mine if mine[key] != theirs.get(key))


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
    Raises: ConfigError where ``out`` holds scores of another model or of other settings; DataError where a task cannot
        be used, before the model is loaded.
    """
    from poolwise.encoding.encoder import ModelEncoder
    from poolwise.kernels.devices import require_device
    from poolwise.models import count_trainable, design_of
    from poolwise.models.load import load_any, own_folder, stored_settings
    from poolwise.study.provenance import versions
    from poolwise.tasks import load_tasks, save_texts

    require_device(device)
    name = model if isinstance(model, str) else _model_name(model)
    folder = own_folder(name) if isinstance(model, str) else None
    if prompts is None:
        stored = stored_settings(name) if isinstance(model, str) else vars(model)
        prompts = category_prompts(stored.get("prompts") or {}, stored.get("default_prompt_name"))
    spec = _evaluation_spec(name, folder, config, prompts)
    if out is not None:
        _check_evaluation(spec, name, out)
    loaded = load_tasks(tasks, max_items=max_items, prompts=prompts)
    precision = "fp32" if config.precision == "auto" and folder is None else config.precision
    encoding = load_any(model, precision, config.max_tokens, device=device) if isinstance(model, str) else model
    manifest = RunManifest(
        name=_short_name(name),
        kind="external",
        design=str(design_of(encoding)) if folder else None,
        model=name,
        trainable_parameters=count_trainable(encoding) if folder else None,
        versions=versions(),
    )
    if (trained := Path(name) / "run.json").is_file():
        manifest = load_record(RunManifest, trained)
    said = describe_reading(encoding, precision, prompts)
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
    return manifest, scores


def describe_reading(model: SentenceTransformer, precision: str, prompts: Mapping[Category, Prompts]) -> str:
    """Return how an evaluation encodes texts, in one line: length, precision and its effect on scores, prompts."""
    from poolwise.kernels.precision import uses_bf16

    lowers = uses_bf16(precision, model.device)  # type: ignore[arg-type]
    noise = ", whose rounding moves scores by up to about 0.004 against fp32" if lowers else ""
    told = [
        f"{category} {side} {text!r}"
        for category, p in prompts.items()
        for side, text in p.model_dump().items()
        if text
    ]
    return (
        f"texts are truncated to {model.max_seq_length} tokens, computed in {'bf16' if lowers else 'fp32'}{noise}; "
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
        if differing := _differing(spec, read_json(path)):
            named = ", ".join(differing)
            raise ConfigError(f"{out} holds the scores of another evaluation: {named} differ(s)", hint=hint)
    elif run.is_file():
        # A model may be evaluated into its own training folder, unless a study has already evaluated it there.
        if Path(name).resolve() != out.resolve() or (out / "items").is_dir():
            raise ConfigError(f"{out} holds the run of {load_record(RunManifest, run).model}", hint=hint)
    else:
        require_empty(out, "evaluation")
    require_writable(out)
