"""One model trained or evaluated outside a study, with the same code and the same records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poolwise.config import DataConfig, EvalConfig, TrainConfig, build_section, fingerprint, parse_override
from poolwise.design import Design, parse_design
from poolwise.errors import ConfigError
from poolwise.records import Cost, ItemScores, RunManifest, load_record, save_record
from poolwise.study.jobs import Report, evaluate_run, train_run


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
        keys, value = parse_override(override)
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
    from poolwise.modules import resolve_base
    from poolwise.study.inputs import StudyInputs, load_training, portable_base
    from poolwise.study.plan import InputHashes

    resolve_base(run.base)
    _claim(run, out)
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
    return train_run(run.design, inputs, run.train, schedule, run.seed, out, report, EvalConfig().max_tokens)


def _claim(run: SingleRun, out: Path) -> None:
    path = out / "spec.json"
    if path.is_file():
        if fingerprint(json.loads(path.read_text())) != fingerprint(run.spec):
            raise ConfigError(f"{out} holds another training run", hint="give another --out, or the same options")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not empty and holds no training run", hint="give a new or empty folder as --out")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run.spec, indent=2) + "\n")


def evaluate_single(
    name: str, tasks: Sequence[str], out: Path, max_items: int | None, config: EvalConfig, report: Report
) -> tuple[RunManifest, list[ItemScores]]:
    """Evaluate any embedding model on tasks; write a run into ``out`` that ``compare`` reads.

    Raises: ConfigError where ``out`` holds the run of another model.
    """
    from poolwise.modules import check_attention, count_trainable, design_of, is_poolwise_model
    from poolwise.study.models import load_any
    from poolwise.study.provenance import versions
    from poolwise.tasks import ModelEncoder, load_tasks, save_texts

    loaded = load_tasks(tasks, max_items=max_items, prompts={})
    model = load_any(name, config.precision, config.max_tokens)
    ours = is_poolwise_model(Path(name)) or is_poolwise_model(Path(name) / "model")
    if ours:
        check_attention(model)
    manifest = RunManifest(
        name=_short_name(name),
        kind="external",
        design=str(design_of(model)) if ours else None,
        model=name,
        trainable_parameters=count_trainable(model) if ours else None,
        versions=versions(),
    )
    if (trained := Path(name) / "run.json").is_file():
        manifest = load_record(RunManifest, trained)
    _claim_evaluation(manifest, out)
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


def _claim_evaluation(manifest: RunManifest, out: Path) -> None:
    path = out / "run.json"
    if path.is_file() and (known := load_record(RunManifest, path)).model != manifest.model:
        raise ConfigError(f"{out} holds the run of {known.model}", hint="give another --out")
