"""The adapted base of a recipe with ``adapt``: trained once, and used by the jobs of bidirectional designs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from poolwise.config import Recipe
from poolwise.design import parse_design
from poolwise.jobs import Job, Report, run_in_ranks
from poolwise.ranks import current_ranks
from poolwise.records import (
    ADAPTATION_FILE,
    Adaptation,
    Cost,
    RunManifest,
    TrainingStep,
    load_record,
    load_steps,
    save_record,
)
from poolwise.results import AdaptationInfo, TrainingCurve
from poolwise.study.plan import SCREEN_FOLDER, is_bidirectional
from poolwise.study.provenance import versions
from poolwise.study.worker_inputs import Inputs, training_part
from poolwise.wording import without_home

FOLDER, BASE, MANIFEST = "adapted", "base", "run.json"
NAME = "adapted base"


def adaptation_folder(out: Path, job: Job) -> Path:
    """Return the folder of an adaptation: its records and, in ``base/``, the adapted base."""
    return out / FOLDER / job.run


def inputs_for(job: Job, jobs: Sequence[Job], inputs: Inputs, out: Path) -> Inputs:
    """Return the inputs for one job of a study: with the adapted base if the job needs it."""
    adapt = next((other for other in jobs if other.kind == "adapt" and other.id in job.needs), None)
    if adapt is None:
        return inputs
    return inputs.on_base(str((adaptation_folder(out, adapt) / BASE).resolve()))


def run_adaptation(job: Job, recipe: Recipe, inputs: Inputs, out: Path, report: Report) -> None:
    """Adapt the base; write ``base/``, ``training.jsonl`` and ``run.json`` into the adaptation's folder.

    Starts ``train.processes`` processes, as a training does.

    Raises: ModelError where the base has no LM head or mask token, or a loss is not finite.
    """
    from poolwise.models import check_attention, count_trainable, init_hashes
    from poolwise.training import adaptation_training, build_adaptable, train_adaptation
    from poolwise.training.checkpoints import resumed_step

    assert recipe.adapt is not None
    folder = adaptation_folder(out, job)
    if _is_made(folder) or _taken_from_screen(job, out):
        return
    ranks = current_ranks()
    if recipe.train.processes > 1 and ranks.size == 1:
        part = replace(training_part(inputs), triples=[], stopping=(), adapt_texts=inputs.adapt_texts)
        work = partial(run_adaptation, job, recipe, part, out)
        run_in_ranks(work, recipe.train.processes, report)
        return
    adapt, config = recipe.adapt, adaptation_training(recipe.adapt, recipe.train)
    adaptable = build_adaptable(
        inputs.base, adapt, config, inputs.hashes.base_dtype, split_special_tokens=recipe.split_special_tokens
    )
    probe = getattr(adaptable.model[0], "probe", None) or check_attention(adaptable.model)
    hashes, num_trainable = init_hashes(adaptable.model), count_trainable(adaptable.model)

    if ranks.is_first and (done := resumed_step(folder)) is not None:
        report(done, adapt.steps, f"resuming from step {done}")

    def on_step(step: TrainingStep) -> None:
        report(step.step, adapt.steps, f"loss {step.loss:.3f}")

    texts = inputs.adapt_texts
    cost = train_adaptation(adaptable, texts, adapt, config, out=folder, key=job.key, on_step=on_step)
    if not ranks.is_first:
        return
    made = Adaptation(
        key=job.key,
        base=recipe.base,
        steps=adapt.steps,
        method="full" if config.method == "full" else "lora",
        mask_share=adapt.mask_share,
        mask_token=adaptable.mask_token,
        num_texts=len(texts),
        seed=adapt.seed,
    )
    adaptable.save(folder / BASE, made)
    manifest = RunManifest(
        name=NAME,
        kind="adapted",
        seed=adapt.seed,
        model=without_home(str(folder / BASE)),
        trainable_parameters=num_trainable,
        learning_rate=adapt.learning_rate,
        hashes={name: hashes[name] for name in ("base", "lora_init") if name in hashes},
        probe={"unpadded": probe.unpadded, "padded_left": probe.padded_left, "padded_right": probe.padded_right},
        attention_kernel=adaptable.model[0].attention_kernel,
        notes=adaptable.model[0].notes,
        versions=versions(),
        cost=cost,
    )
    save_record(manifest, folder / MANIFEST)


def _is_made(folder: Path) -> bool:
    """Return whether an adaptation is finished: its manifest is written last."""
    return (folder / MANIFEST).is_file()


def _taken_from_screen(job: Job, out: Path) -> bool:
    """Copy the adapted base from the study's screen, if it made one with this key: equal keys mean equal weights."""
    made = adaptation_folder(out / SCREEN_FOLDER, job)
    if not _is_made(made):
        return False
    shutil.copytree(made, adaptation_folder(out, job), dirs_exist_ok=True)
    return True


def adaptation_costs(info: AdaptationInfo | None, out: Path) -> dict[str, Cost]:
    """Return the cost of the adaptation by its folder; empty if there was none."""
    return {info.run: load_record(RunManifest, out / info.run / MANIFEST).cost} if info else {}


def adaptation_info(recipe: Recipe, jobs: Sequence[Job], out: Path) -> AdaptationInfo | None:
    """Return how the base of a study was adapted; None if no adaptation is finished."""
    job = next((job for job in jobs if job.kind == "adapt"), None)
    if job is None or not _is_made(folder := adaptation_folder(out, job)):
        return None
    steps = load_steps(folder / "training.jsonl")
    made = load_record(Adaptation, folder / BASE / ADAPTATION_FILE)
    return AdaptationInfo(
        run=f"{FOLDER}/{job.run}",
        made=made,
        note=_note(recipe, made.steps),
        trainable_parameters=load_record(RunManifest, folder / MANIFEST).trainable_parameters,
        curve=TrainingCurve(
            design=NAME,
            seed=job.seed,
            steps=[step.step for step in steps],
            loss=[step.loss for step in steps],
            learning_rate=[step.learning_rate for step in steps],
        ),
    )


def _note(recipe: Recipe, steps: int) -> str:
    note = f"bidirectional designs start from the base after {steps} steps of masked next-token training (adapt)"
    if all(_starts_adapted(recipe)):
        return note
    return f"{note}; causal designs start from the plain base, so part of a difference may come from that training"


def _starts_adapted(recipe: Recipe) -> list[bool]:
    return [is_bidirectional(parse_design(name).attention) for name in recipe.designs]


def adaptation_notes(recipe: Recipe, info: AdaptationInfo | None) -> list[str]:
    """Return the notes that readers of the verdicts need if the recipe adapts the base."""
    if recipe.adapt and not any(_starts_adapted(recipe)):
        return ["adapt: no design of the recipe is bidirectional, so the base was not adapted"]
    return [info.note] if info else []
