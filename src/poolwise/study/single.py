"""One model trained or evaluated outside a study, with the same code and the same records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from poolwise.config import DataConfig, EvalConfig, Prompts, TrainConfig, build_section
from poolwise.design import Design, parse_design
from poolwise.errors import ConfigError
from poolwise.jobs import Report
from poolwise.overrides import parse_override
from poolwise.records import CATEGORIES, Category, Cost, ItemScores, RunManifest, load_record, save_record
from poolwise.study.folders import read_json, require_empty, require_writable, write_json
from poolwise.study.jobs import evaluate_run, train_run

EVALUATION = "evaluation.json"
"""Beside the scores of a model: what the scores that join them must have in common with them."""


@dataclass(frozen=True)
class SingleRun:
    """What ``poolwise train`` was asked to do, resolved and checked."""

    design: Design
    base: str
    data: DataConfig
    train: TrainConfig
    seed: int

    @property
    def spec(self) -> dict[str, object]:
        """The run as JSON; equal specs continue each other's training."""
        return {
            "design": str(self.design),
            "base": self.base,
            "data": self.data.model_dump(mode="json"),
            "train": self.train.model_dump(mode="json"),
            "seed": self.seed,
        }


def build_single_run(
    design: str,
    base: str,
    data: Sequence[str],
    steps: int | None,
    seed: int,
    max_rows: int | None,
    overrides: Sequence[str],
) -> SingleRun:
    """Return a checked run from command-line values.

    Raises: ConfigError for an unknown design or key, naming the nearest.
    """
    tree: dict[str, object] = {} if steps is None else {"steps": steps}
    for override in overrides:
        keys, value = parse_override(override, TrainConfig)
        tree[keys[-1] if keys[:-1] == ["train"] else ".".join(keys)] = value
    return SingleRun(
        parse_design(design),
        base,
        build_section(DataConfig, {"train": list(data), "max_rows": max_rows}, "--data"),
        build_section(TrainConfig, tree, "--set"),
        seed,
    )


def train_single(run: SingleRun, out: Path, report: Report) -> RunManifest:
    """Train one design into ``out``; a finished run is returned as it is, an unfinished one goes on.

    Raises: ConfigError where ``out`` holds another run.
    """
    from poolwise.data import build_schedule
    from poolwise.models import resolve_base
    from poolwise.study.inputs import StudyInputs, load_training, portable_base
    from poolwise.study.plan import InputHashes

    resolve_base(run.base)
    _check_training(run, out)
    if (out / "run.json").is_file() and (out / "model").is_dir():
        return load_record(RunManifest, out / "run.json")
    training = load_training(run.data)
    schedule = build_schedule(training.triples, steps=run.train.steps, batch_size=run.train.batch_size, seed=run.seed)
    inputs = StudyInputs(
        base=portable_base(run.base),
        triples=training.triples,
        source_category={source.source: source.category for source in run.data.train},
        prompts={},
        schedules={run.seed: schedule},
        tasks=[],
        dev=[],
        hashes=InputHashes(run.base, training.fingerprints, {run.seed: schedule.hash}, {}, {}),
    )
    write_json(out / "spec.json", run.spec)
    return train_run(run.design, inputs, run.train, schedule, run.seed, out, report, EvalConfig().max_tokens)


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


def evaluate_single(
    name: str, tasks: Sequence[str], out: Path, max_items: int | None, config: EvalConfig, report: Report
) -> tuple[RunManifest, list[ItemScores]]:
    """Evaluate any embedding model on tasks; write a run into ``out`` that ``compare`` reads.

    A model of ours reads texts with the prompts of the recipe that it was trained with.
    Raises: ConfigError where ``out`` holds the scores of another model, or of this one at another length.
    """
    from poolwise.encoding.encoder import ModelEncoder
    from poolwise.models import check_attention, count_trainable, design_of, stored_prompts
    from poolwise.models.load import load_any, own_folder
    from poolwise.study.provenance import versions
    from poolwise.tasks import load_tasks, save_texts

    folder = own_folder(name)
    spec = _evaluation_spec(name, folder, config)
    _check_evaluation(spec, name, out)
    prompts = _by_category(stored_prompts(folder)) if folder else {}
    loaded = load_tasks(tasks, max_items=max_items, prompts=prompts)
    model = load_any(name, config.precision, config.max_tokens)
    if folder:
        check_attention(model)
    manifest = RunManifest(
        name=_short_name(name),
        kind="external",
        design=str(design_of(model)) if folder else None,
        model=name,
        trainable_parameters=count_trainable(model) if folder else None,
        versions=versions(),
    )
    if (trained := Path(name) / "run.json").is_file():
        manifest = load_record(RunManifest, trained)
    write_json(out / EVALUATION, spec)
    save_texts(loaded, out)
    encoder = ModelEncoder(model, batch_size=config.batch_size)
    scores = evaluate_run(encoder, loaded, out, report)
    update = Cost(eval_seconds=encoder.seconds, encode_texts_per_second=encoder.texts_per_second)
    if encoder.num_encoded:
        cost = manifest.cost.model_copy(update=update.model_dump(exclude_none=True))
        manifest = manifest.model_copy(update={"cost": cost})
    save_record(manifest, out / "run.json")
    return manifest, scores


def _short_name(name: str) -> str:
    path = Path(name)
    return path.resolve().name if path.exists() else name


def _by_category(named: Mapping[str, str]) -> dict[Category, Prompts]:
    """Return prompts by category from those that a model was saved with, ``retrieval-query`` and so on."""
    sides = {c: {side: named.get(f"{c}-{side}", "") for side in ("query", "document")} for c in CATEGORIES}
    return {category: Prompts(**texts) for category, texts in sides.items() if any(texts.values())}


def _evaluation_spec(name: str, folder: Path | None, config: EvalConfig) -> dict[str, object]:
    """Return what scores in one folder must share; what they say of tasks, their fingerprints tell."""
    from poolwise.storage.fingerprints import fingerprint_folder

    place = folder or Path(name)
    model = fingerprint_folder(place) if place.is_dir() else name
    return {"model": model, "max_tokens": config.max_tokens, "precision": config.precision}


def _check_evaluation(spec: Mapping[str, object], name: str, out: Path) -> None:
    path, run = out / EVALUATION, out / "run.json"
    hint = "give another --out"
    if path.is_file():
        if differing := _differing(spec, read_json(path)):
            named = ", ".join(differing)
            raise ConfigError(f"{out} holds the scores of another evaluation: {named} differ(s)", hint=hint)
    elif run.is_file():
        # A model may be evaluated into the folder it was trained into, unless a study has done so its own way.
        if Path(name).resolve() != out.resolve() or (out / "items").is_dir():
            raise ConfigError(f"{out} holds the run of {load_record(RunManifest, run).model}", hint=hint)
    else:
        require_empty(out, "evaluation")
    require_writable(out)
