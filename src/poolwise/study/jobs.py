"""The jobs of a study: train one model, evaluate one model, choose one learning rate."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolwise.config import MACHINE_KEYS, EvalConfig, Recipe, TrainConfig
from poolwise.data import Schedule
from poolwise.design import Design
from poolwise.encoding.encoder import ModelEncoder, RandomEncoder
from poolwise.errors import EvalError, ModelError
from poolwise.jobs import Report, run_in_ranks
from poolwise.prompts import named_prompts
from poolwise.ranks import current_ranks, wait_for_all
from poolwise.records import (
    Adaptation,
    Cost,
    ItemScores,
    RunManifest,
    TrainingStep,
    items_path,
    items_problem,
    load_adaptation,
    load_looks,
    load_record,
    save_items,
    save_record,
)
from poolwise.storage.fingerprints import fingerprint
from poolwise.study.model_cards import training_history
from poolwise.study.provenance import versions
from poolwise.study.worker_inputs import Inputs, training_part
from poolwise.tasks import Encoder, Task, evaluate_bm25, evaluate_task, with_dimensions
from poolwise.wording import without_home

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)
UNTUNED_DESIGN = "mean+causal"
LAYER_WEIGHT_TEXTS = 64
_NOT_FACTS = {"save_steps", "mini_batch_size", "gradient_checkpointing", "early_stopping", *MACHINE_KEYS}
"""Settings that say when a run is saved or shown, where it runs or how much memory it takes, but not what it learns;
and the looks, whose dev tasks count by their content."""


def train_run(
    design: Design,
    inputs: Inputs,
    config: TrainConfig,
    schedule: Schedule,
    seed: int,
    folder: Path,
    report: Report,
    max_tokens: int,
    device: str | None = None,
) -> RunManifest:
    """Train one design on its schedule; write ``model/``, ``training.jsonl`` and ``run.json`` into ``folder``.

    Starts ``config.processes`` processes that train together, unless this process is already one of several.

    Args:
        max_tokens: maximum length saved with the model; training truncates at ``config.max_tokens``.
    """
    ranks = current_ranks()
    if config.processes > 1 and ranks.size == 1:
        work = partial(
            train_run,
            *(design, training_part(inputs), config, schedule, seed, folder),
            max_tokens=max_tokens,
            device=device,
        )
        run_in_ranks(work, config.processes, report, device)
        return load_record(RunManifest, folder / "run.json")
    from poolwise.models import build_model, check_attention, count_trainable, init_hashes, layer_weights
    from poolwise.models.base_dtype import resolved_precision
    from poolwise.training import shares_weights, train_model
    from poolwise.training.checkpoints import resumed_step
    from poolwise.training.looks import FILE as LOOKS
    from poolwise.training.losses import nested_dimensions

    folder.mkdir(parents=True, exist_ok=True)
    shares = shares_weights(config)
    model = build_model(
        design,
        inputs.base,
        seed=seed,
        method=config.method,
        lora_rank=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        max_tokens=config.max_tokens,
        precision=resolved_precision(config.precision, device) if shares else config.precision,
        base_dtype=inputs.hashes.base_dtype,
        split_special_tokens=inputs.split_special_tokens,
        prompts=named_prompts(inputs.prompts),
        gradient_checkpointing=config.gradient_checkpointing,
        device="cpu" if shares else device,  # no GPU may be able to hold it whole
    )
    adaptation = load_adaptation(inputs.base)
    hashes = init_hashes(model) | {"schedule": schedule.hash}
    num_trainable = count_trainable(model)

    if ranks.is_first and (done := resumed_step(folder)) is not None:
        report(done, config.steps, f"resuming from step {done}")

    def on_step(step: TrainingStep) -> None:
        report(step.step, config.steps, f"loss {step.loss:.3f}")

    stopping = inputs.stopping if config.early_stopping else ()
    cost = train_model(
        model,
        inputs.triples,
        schedule,
        config,
        out=folder,
        seed=seed,
        prompts=inputs.prompts,
        source_category=inputs.source_category,
        on_step=on_step,
        dev_score=partial(dev_score, model, stopping, max_tokens) if stopping else None,
        device=device,
    )
    if not ranks.is_first:
        wait_for_all()
        return load_record(RunManifest, folder / "run.json")
    looks = load_looks(folder / LOOKS) if stopping else []
    model.max_seq_length = max_tokens
    if config.steps and num_trainable:
        model[0].matryoshka = nested_dimensions(config, model.get_embedding_dimension() or 0)
    probe = check_attention(model)
    weights = layer_weights(model, sample_texts(inputs))
    notes = [
        *_base_notes(adaptation, inputs.base),
        *model[0].notes,
        *([f"trained by {ranks.size} processes" + ", each with a part of the weights" * shares] * (ranks.size > 1)),
    ]
    settings = _plain(config.model_dump(exclude=_NOT_FACTS))
    model.training_facts = training_history(inputs.triples, settings, seed, notes, cost.train_seconds)
    model.save(str(folder / "model"))
    manifest = RunManifest(
        name=str(design),
        kind="trained",
        design=str(design),
        seed=seed,
        model=without_home(str(folder / "model")),
        trainable_parameters=num_trainable,
        learning_rate=config.learning_rate,
        hashes=hashes,
        training=training_facts(inputs, config, schedule, adapted=adaptation is not None),
        looks=looks,
        chosen_step=max(looks, key=lambda look: look.score).step if looks else None,
        layer_weights=weights,
        probe=probe.facts,
        adaptation=adaptation.key if adaptation else "",
        attention_kernel=model[0].attention_kernel,
        notes=notes,
        versions=versions(),
        cost=cost,
    )
    save_record(manifest, folder / "run.json")
    wait_for_all()
    return manifest


def dev_score(model: SentenceTransformer, tasks: Sequence[Task], max_tokens: int) -> float:
    """Return a model's mean score on dev tasks during training, with texts truncated as in evaluation."""
    trained = model.max_seq_length
    model.max_seq_length = max_tokens
    try:
        encoder = ModelEncoder(model)
        encoder.prepare(key for task in tasks for key in task.texts())
        scores = [evaluate_task(task, encoder).score for task in tasks]
    finally:
        model.max_seq_length = trained
    return sum(scores) / len(scores)


def training_facts(
    inputs: Inputs, config: TrainConfig, schedule: Schedule, *, adapted: bool
) -> dict[str, str | int | float | bool]:
    """Return what a training depends on besides design and seed: runs that agree in it are seeds of one design.

    The names of files do not matter, nor what only saves memory. An adapted base is named by its own key.
    """
    facts: dict[str, str | int | float | bool] = {} if adapted else {"base": without_home(inputs.base)}
    facts |= {"data": schedule.data, **_plain(config.model_dump(exclude=_NOT_FACTS)), **inputs.hashes.held}
    if stopping := config.early_stopping:
        tasks = sorted(task.fingerprint for task in inputs.stopping)
        facts["early_stopping"] = fingerprint([stopping.every, stopping.patience, tasks])
    used = {inputs.source_category[triple.source] for triple in inputs.triples}
    if prompts := {category: inputs.prompts[category].model_dump() for category in used & inputs.prompts.keys()}:
        facts["prompts"] = fingerprint(prompts)
    return facts


def _plain(settings: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Return settings with lists written as text."""
    return {key: ", ".join(map(str, value)) if isinstance(value, list) else value for key, value in settings.items()}


def _base_notes(adaptation: Adaptation | None, base: str) -> list[str]:
    """Return the manifest's note on the base that a run starts from; none for a base used as it was published."""
    from poolwise.models import base_origin

    if adaptation is None:
        origin = base_origin(base)
        return [f"on the base {origin}"] if origin else []
    return [f"on the base after {adaptation.steps} steps of masked next-token training ({adaptation.key})"]


def sample_texts(inputs: Inputs) -> list[str]:
    """Return the texts on which layer weights are measured: the first positives, the same for every run."""
    return [triple.positive for triple in inputs.triples[:LAYER_WEIGHT_TEXTS]]


def evaluate_run(encoder: Encoder, tasks: Sequence[Task], folder: Path | None, report: Report) -> list[ItemScores]:
    """Score every task that has no scores in ``folder`` yet, and return the scores of all tasks.

    Args:
        folder: where scores are saved; None saves nothing.
    """
    todo = [task for task in tasks if folder is None or not _is_scored(task, folder)]
    if isinstance(encoder, ModelEncoder) and todo:
        encoder.on_progress = lambda done, total: report(done, total, "texts encoded")
        # All tasks, scored or not, so that a resumed evaluation has the same batches as an uninterrupted one.
        encoder.prepare(key for task in tasks for key in task.texts())
    fresh: dict[str, ItemScores] = {}
    for number, task in enumerate(todo):
        report(number, len(todo), f"tasks scored; {task.name}")
        fresh[task.name] = evaluate_task(task, encoder)
        if isinstance(encoder, ModelEncoder) and (dimensions := _dimensions(encoder)):
            fresh[task.name] = with_dimensions(fresh[task.name], task, encoder, dimensions)
        if folder is not None:
            save_items(fresh[task.name], folder)
    if folder is None:
        return list(fresh.values())
    return [load_record(ItemScores, items_path(folder, task.name)) for task in tasks]


def _dimensions(encoder: ModelEncoder) -> Sequence[int]:
    from poolwise.models import trained_dimensions

    return trained_dimensions(encoder.model)


def _is_scored(task: Task, folder: Path) -> bool:
    path = items_path(folder, task.name)
    if not path.is_file():
        return False
    if problem := items_problem(folder, task.name):
        logger.warning("%s %s; the task is scored again", path, problem)
        return False
    try:
        return load_record(ItemScores, path).fingerprint == task.fingerprint
    except EvalError as error:
        logger.warning("%s; the task is scored again", error.got)
        return False


def evaluate_trained(folder: Path, tasks: Sequence[Task], config: EvalConfig, report: Report) -> None:
    """Evaluate the model of a training run and add the cost to the run's manifest.

    Raises: ModelError where the attention, probed when the model is loaded, is not the stored one.
    """
    from poolwise.models.load import load_any

    manifest = load_record(RunManifest, folder / "run.json")
    model = load_any(str(folder), config.precision, config.max_tokens)
    encoder = ModelEncoder(model, batch_size=config.batch_size)
    evaluate_run(encoder, tasks, folder, report)
    save_record(manifest.model_copy(update={"cost": _with_evaluation(manifest.cost, encoder)}), folder / "run.json")


def _with_evaluation(cost: Cost, encoder: ModelEncoder) -> Cost:
    if encoder.num_encoded == 0:  # everything was scored before
        return cost
    update = {"eval_seconds": encoder.seconds, "encode_texts_per_second": encoder.texts_per_second}
    return cost.model_copy(update=update)


def evaluate_anchor(name: str, inputs: Inputs, recipe: Recipe, folder: Path, report: Report) -> None:
    """Evaluate one baseline: the untuned base, BM25, or random embeddings."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = RunManifest(name=name, kind="anchor", model=name, trainable_parameters=0, versions=versions())
    if name == "untuned":
        from poolwise.models import build_model, prepare_encoding

        model = build_model(
            UNTUNED_DESIGN,
            inputs.base,
            method="frozen",
            max_tokens=recipe.max_tokens,
            precision=recipe.eval.precision,
            base_dtype=inputs.hashes.base_dtype,
            split_special_tokens=recipe.split_special_tokens,
        )
        kernel, more = model[0].attention_kernel, model[0].notes
        encoder = ModelEncoder(prepare_encoding(model), batch_size=recipe.eval.batch_size)
        evaluate_run(encoder, inputs.tasks, folder, report)
        notes = [f"the base without training, used as {UNTUNED_DESIGN}", *_base_notes(None, inputs.base), *more]
        update = {"notes": notes, "attention_kernel": kernel, "cost": _with_evaluation(Cost(), encoder)}
        manifest = manifest.model_copy(update=update)
    elif name == "random":
        evaluate_run(RandomEncoder(), inputs.tasks, folder, report)
    else:
        _evaluate_bm25(inputs.tasks, folder, report)
    save_record(manifest, folder / "run.json")


def _evaluate_bm25(tasks: Sequence[Task], folder: Path, report: Report) -> None:
    for number, task in enumerate(tasks):
        report(number, len(tasks), task.name)
        scores = None if _is_scored(task, folder) else evaluate_bm25(task)
        if scores is not None:
            save_items(scores, folder)


def tune_run(design: Design, inputs: Inputs, recipe: Recipe, seed: int, folder: Path, report: Report) -> None:
    """Train and score one short run per learning rate; ``tuned_config`` chooses among these trials.

    Every design gets the same number of trials of the same length.
    """
    assert recipe.tune is not None
    rates = recipe.tune.learning_rate
    for number, rate in enumerate(rates):
        within = _within(report, number, len(rates), f"learning rate {rate:g}")
        config = _with_rate(recipe, rate).model_copy(update={"steps": recipe.tune.steps, "early_stopping": None})
        trial = folder / f"lr-{rate:g}"
        if not (trial / "run.json").is_file():
            schedule = inputs.schedules[seed]
            train_run(design, inputs, config, schedule, seed, trial, within, recipe.max_tokens)
        evaluate_trained(trial, inputs.dev, recipe.eval, within)


def _within(report: Report, done: int, total: int, name: str) -> Report:
    """Return a report for one trial that counts finished trials, so that the time left is that of all trials."""
    report(done, total, name)
    return lambda part, parts, detail: report(done, total, f"{name}: {part}/{parts} {detail}")


def _with_rate(recipe: Recipe, rate: float) -> TrainConfig:
    # The head's rate is scaled in proportion, so that only one number is searched.
    ratio = recipe.train.head_learning_rate / recipe.train.learning_rate
    return recipe.train.model_copy(update={"learning_rate": rate, "head_learning_rate": rate * ratio})


def tuned_config(recipe: Recipe, design: str, folder: Path) -> TrainConfig:
    """Return the training section with the learning rates that tuning chose for ``design``.

    Raises: EvalError where the tuning trials are incomplete.
    """
    scores = tuning_scores(recipe, folder)
    if not scores:
        raise EvalError(f"no tuning scores of {design} in {folder}", hint="run the study again")
    return _with_rate(recipe, max(scores, key=lambda rate: scores[rate]))


def tuning_scores(recipe: Recipe, folder: Path) -> dict[float, float]:
    """Return the mean dev score of each learning rate whose trial is complete."""
    assert recipe.tune is not None
    result = {}
    for rate in recipe.tune.learning_rate:
        records = [load_record(ItemScores, path) for path in sorted(folder.glob(f"lr-{rate:g}/items/*/*.json.gz"))]
        if records:
            result[rate] = sum(record.score for record in records) / len(records)
    return result


def check_controls(manifests: Sequence[RunManifest]) -> None:
    """Check that all runs of one seed had the same batches and initial LoRA weights.

    All runs from the plain base must have the same base, and so must all runs from the adapted base.

    Raises: ModelError naming the runs and the hash that differs.
    """
    first: dict[tuple[int, str, str], RunManifest] = {}
    for manifest in manifests:
        for name in ("schedule", "base", "lora_init"):
            if name not in manifest.hashes:
                continue
            kind = manifest.adaptation if name == "base" else ""
            known = first.setdefault((manifest.seed, name, kind), manifest)
            if known.hashes[name] != manifest.hashes[name]:
                raise ModelError(
                    f"{known.name} and {manifest.name}, seed {manifest.seed}, differ in {name}: "
                    f"{known.hashes[name]} and {manifest.hashes[name]}",
                    "the runs of a study must differ only in the design",
                    "delete the older run's folder and run the study again",
                )
