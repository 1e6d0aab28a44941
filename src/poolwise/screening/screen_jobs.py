"""The jobs of a screen: run the base once, train one head, evaluate one head."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

from poolwise.attentions import Attention
from poolwise.design import Design, parse_design
from poolwise.jobs import Job, Report
from poolwise.models import count_trainable, head_hash, layer_weights
from poolwise.records import Cost, RunManifest, TrainingStep, load_record, save_record
from poolwise.screening import StateStore, StoredEncoder, build_stored_model, fill_store, load_head, save_head
from poolwise.screening.screen_plan import Role, screen_needs, screen_spec, states_folder
from poolwise.study.adapt import NAME, inputs_for, run_adaptation
from poolwise.study.jobs import UNTUNED_DESIGN, evaluate_anchor, evaluate_run, sample_texts, training_facts
from poolwise.study.perform import Work
from poolwise.study.plan import adapt_job
from poolwise.study.provenance import versions
from poolwise.training import train_model
from poolwise.wording import without_home

HEAD_FOLDER = "head"


def perform(job: Job, work: Work, report: Report) -> None:
    """Run one job of a screen."""
    if job.kind == "adapt":
        run_adaptation(job, work.recipe, work.inputs, work.out, report)
    elif job.kind == "pass":
        read_states(job, replace(work, inputs=inputs_for(job, work.jobs, work.inputs, work.out)), report)
    elif job.kind == "train":
        train_head(job, work, report)
    elif job.kind == "eval":
        evaluate_head(job, work, report)
    elif job.name == "untuned":
        evaluate_untuned(job, work, report)
    else:
        evaluate_anchor(job.name, work.inputs, work.recipe, work.out / "runs" / job.run, report)


def open_store(work: Work, role: Role, attention: Attention) -> StateStore:
    """Return the store of one pass, full or not."""
    return StateStore(screen_spec(work.recipe, work.inputs, role, attention), states_folder(work.out))


def read_states(job: Job, work: Work, report: Report) -> None:
    """Fill the store of one pass."""
    attention, role = job.name.split("/")
    store = open_store(work, role, attention)  # type: ignore[arg-type]
    needs = screen_needs(work.recipe, work.inputs.base, role, attention)  # type: ignore[arg-type]
    fill_store(store, needs, work.recipe.eval.batch_size, lambda done, total: report(done, total, "texts read"))


def train_head(job: Job, work: Work, report: Report) -> None:
    """Train one head on stored states; write ``head/``, ``training.jsonl`` and ``run.json``."""
    recipe, inputs, design = work.recipe, work.inputs, parse_design(job.name)
    folder, schedule = work.out / "runs" / job.run, inputs.schedules[job.seed]
    store = open_store(work, "training", design.attention)
    model = build_stored_model(design, store, seed=job.seed, precision=recipe.train.precision)
    hashes = head_hash(model) | {"base": store.spec.base_hash, "schedule": schedule.hash}
    adapt = adapt_job(recipe, inputs.hashes, design.attention)

    def on_step(step: TrainingStep) -> None:
        report(step.step, recipe.train.steps, f"loss {step.loss:.3f}")

    cost = train_model(
        model,
        inputs.triples,
        schedule,
        recipe.train,
        out=folder,
        seed=job.seed,
        prompts=inputs.prompts,
        source_category=inputs.source_category,
        on_step=on_step,
    )
    save_head(model, folder / HEAD_FOLDER)
    manifest = RunManifest(
        name=job.name,
        kind="trained",
        design=job.name,
        seed=job.seed,
        model=without_home(str(folder / HEAD_FOLDER)),
        trainable_parameters=count_trainable(model),
        learning_rate=recipe.train.head_learning_rate if design.is_trainable else None,
        hashes=hashes,
        training=training_facts(inputs, recipe.train, schedule, adapted=adapt is not None),
        layer_weights=layer_weights(model, sample_texts(inputs)),
        adaptation=adapt.key if adapt else "",
        notes=[f"a head on the frozen {NAME if adapt else 'base'}, trained on stored states"],
        versions=versions(),
        cost=cost,
    )
    save_record(manifest, folder / "run.json")


def evaluate_head(job: Job, work: Work, report: Report) -> None:
    """Evaluate a trained head on stored states, and add the cost to the run's manifest.

    On a frozen base, a pooling without parameters is the same at every seed: its scores are copied from the first.
    """
    folder, start = work.out / "runs" / job.run, time.perf_counter()
    twin = next((other for other in work.jobs if other.kind == "eval" and other.id in job.needs), None)
    if twin is not None:
        shutil.copytree(work.out / "runs" / twin.run / "items", folder / "items", dirs_exist_ok=True)
    else:
        evaluate_run(
            _encoder(work, parse_design(job.name), folder / HEAD_FOLDER, report), work.inputs.tasks, folder, report
        )
    manifest = load_record(RunManifest, folder / "run.json")
    cost = manifest.cost.model_copy(update={"eval_seconds": time.perf_counter() - start})
    save_record(manifest.model_copy(update={"cost": cost}), folder / "run.json")


def evaluate_untuned(job: Job, work: Work, report: Report) -> None:
    """Evaluate the base without training, from the stored states."""
    folder, start = work.out / "runs" / job.run, time.perf_counter()
    encoder = _encoder(work, parse_design(UNTUNED_DESIGN), None, report)
    evaluate_run(encoder, work.inputs.tasks, folder, report)
    manifest = RunManifest(
        name=job.name,
        kind="anchor",
        model=job.name,
        trainable_parameters=0,
        notes=[f"the base without training, used as {UNTUNED_DESIGN}"],
        versions=versions(),
        cost=Cost(eval_seconds=time.perf_counter() - start),
    )
    save_record(manifest, folder / "run.json")


def _encoder(work: Work, design: Design, head: Path | None, report: Report) -> StoredEncoder:
    store = open_store(work, "evaluation", design.attention)
    pooling = load_head(design, head) if head is not None else None
    model = build_stored_model(design, store, precision=work.recipe.eval.precision, pooling=pooling)
    return StoredEncoder(model, lambda done, total: report(done, total, "texts pooled"))
