"""``poolwise eval``: any embedding model on tasks, with per-item scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Device, Json, step_view
from poolwise.config import EvalConfig, build_section
from poolwise.errors import ConfigError
from poolwise.records import require_finished

EXAMPLES = (
    "poolwise eval runs/mine --tasks poolwise/pydoc --out runs/mine-scores",
    "poolwise eval sentence-transformers/all-MiniLM-L6-v2 --tasks ./my-suite --max-items 200 --out runs/minilm",
)
_BATCH_SIZE = EvalConfig().batch_size


def evaluate(
    model: Annotated[str, typer.Argument(help="A run or model folder of ours, or any sentence-transformers model.")],
    tasks: Annotated[list[str], typer.Option(help="A task, category or suite folder, or mteb:NAME; repeatable.")],
    out: Annotated[Path, typer.Option(help="The run's folder, for `poolwise compare`.")],
    max_items: Annotated[
        int | None,
        typer.Option(min=2, help="Cap on the items of a task, a seeded subset.", show_default="all items"),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Tokens a text keeps.", show_default="the model's own length")
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIDE=TEXT",
            help="Prompt of query or document, or of one category (sts.query=TEXT); repeatable.",
            show_default="the model's own prompts",
        ),
    ] = None,
    no_prompt: Annotated[bool, typer.Option("--no-prompt", help="Read texts without any prompt.")] = False,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or auto: fp32 for models of others, what a study takes for ours.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(help="Texts a batch.")] = _BATCH_SIZE,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Evaluate a model as it was saved: its length and its prompts. The same command goes on after an interruption."""
    if prompt and no_prompt:
        raise ConfigError("--prompt and --no-prompt exclude each other")
    options = {"max_tokens": max_tokens, "batch_size": batch_size, "precision": precision}
    config = build_section(EvalConfig, options, "options")
    require_finished(Path(model))
    from poolwise.study.single import evaluate_single, parse_prompts

    prompts = parse_prompts(prompt or []) if prompt or no_prompt else None
    with step_view("eval") as view:
        manifest, scores = evaluate_single(model, tasks, out, max_items, config, view.advance, prompts, device)
    if as_json:
        result = {
            record.task: {
                "category": record.category,
                "metric": record.metric,
                "score": record.score,
                "num_items": record.num_items,
            }
            for record in scores
        }
        told = {"model": manifest.model, "design": manifest.design, "read": manifest.notes[-1], "tasks": result}
        print(json.dumps(told, indent=2))
        return
    width = max(len(record.task) for record in scores)
    for record in scores:
        print(f"{record.task:{width}}  {record.metric:15}  {record.score:.4f}  {record.num_items} items")
    print(manifest.notes[-1])
    print(f"records: {out}")
