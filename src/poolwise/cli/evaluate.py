"""``poolwise eval``: any embedding model on tasks, with per-item scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Device, Json, placed_on, require_finished, step_view
from poolwise.config import EvalConfig, build_section

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
    max_tokens: Annotated[int, typer.Option(help="Tokens a text keeps.")] = 512,
    batch_size: Annotated[int, typer.Option(help="Texts a batch.")] = _BATCH_SIZE,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Evaluate a model; the same command goes on after an interruption."""
    config = build_section(EvalConfig, {"max_tokens": max_tokens, "batch_size": batch_size}, "options")
    require_finished(model)
    place = placed_on(device)
    from poolwise.study.single import evaluate_single

    with step_view("eval") as view:
        manifest, scores = evaluate_single(model, tasks, out, max_items, config, view.advance, **place)
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
        print(json.dumps({"model": manifest.model, "design": manifest.design, "tasks": result}, indent=2))
        return
    width = max(len(record.task) for record in scores)
    for record in scores:
        print(f"{record.task:{width}}  {record.metric:15}  {record.score:.4f}  {record.num_items} items")
    print(f"records: {out}")
