"""``poolwise train``: trains one design."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Device, prepare_base, say, show, step_view
from poolwise.config import DataConfig, TrainConfig, load_recipe
from poolwise.ranks import current_ranks, wait_for_all

EXAMPLES = (
    "poolwise train --design multilayer+bidirectional --data poolwise/pydoc --steps 50 --out runs/mine",
    "poolwise train --design last+causal --data pairs.jsonl --base ./my-base --set lora_rank=8 --out runs/last",
)
_STEPS, _MAX_ROWS = TrainConfig().steps, DataConfig.model_fields["max_rows"].default


def train(
    design: Annotated[
        str, typer.Option(help="Design: pooling+attention, such as multilayer+bidirectional, or paper:5.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run: gets model/, training.jsonl and run.json.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="Training files, data sets or poolwise/pydoc; repeatable.", show_default="of --recipe"),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Recipe of a study, which gives what no other option does: trains as the study would.",
            show_default="none",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Decoder-only model: folder, GGUF file, hub id or a name of poolwise bases.",
            show_default="of --recipe, or poolwise/nano",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Optimiser steps.", show_default=f"of --recipe, or {_STEPS}")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of batches, LoRA, dropout and head.")] = 0,
    max_rows: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most training rows, all sources together.",
            show_default=f"of --recipe, or {_MAX_ROWS or 'all rows'}",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set a recipe key of train, data, prompts, eval or base; repeatable.",
            show_default="none",
        ),
    ] = None,
    device: Device = None,
) -> None:
    """Train one design and save the model. Repeat the command to resume after an interruption.

    --set takes the keys of a recipe, such as --set train.learning_rate=1e-4 or --set 'prompts.retrieval.query=Q: '.
    Keys of the train section work without the prefix: --set learning_rate=1e-4.
    --set processes=2 trains on two GPUs, or in two processes on a CPU; so does torchrun -m poolwise train.
    """
    from poolwise.study.single_training import SingleRun, build_single_run, train_single

    study = load_recipe(recipe) if recipe else None
    run: SingleRun = build_single_run(design, base, data or [], steps, seed, max_rows, set_ or [], study=study)
    prepare_base(run.recipe.base)
    with step_view(f"train {run.design}") as view:
        manifest = train_single(run, out, view.advance, device, say)
    wait_for_all()
    if not current_ranks().is_first:
        return
    cost = manifest.cost
    show(f"model: {out / 'model'}")
    show(
        f"{manifest.trainable_parameters:,} trained parameters, {cost.train_seconds or 0:.1f} s, "
        f"{cost.train_tokens_per_second or 0:,.0f} tokens/s, peak {cost.train_peak_memory_gib or 0:.2f} GiB"
    )
