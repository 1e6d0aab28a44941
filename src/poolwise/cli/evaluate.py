"""``poolwise eval``: scores any embedding model on tasks, with a score per item."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.index_scores_view import evaluate_index
from poolwise.cli.options import Device, Json, require_model, show, show_json, step_view
from poolwise.config import EvalConfig, build_section
from poolwise.errors import ConfigError

EXAMPLES = (
    "poolwise eval runs/mine --tasks poolwise/pydoc --out runs/mine-scores",
    "poolwise eval --index index --queries queries.jsonl --qrels qrels.tsv --sweep ef_search=32,64,128",
)
_BATCH_SIZE = EvalConfig().batch_size


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Folder of a poolwise run or model, or any sentence-transformers model; optional with --index."
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(help="Folder of a task, category or suite, or mteb:NAME; repeatable.", show_default="none"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the scores, to give to `poolwise compare`.", show_default="none")
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(help="Score an index instead: recall, nDCG and latency of search.", show_default="none"),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="With --index: file of queries.", show_default="200 rows of the index"),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(help="With --index: relevance judgements, for nDCG@10.", show_default="none"),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="With --index: nearest rows that count for the recall.")] = 10,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,...", help="With --index: values of a setting; repeatable.", show_default="as built"
        ),
    ] = None,
    max_items: Annotated[
        int | None,
        typer.Option(
            min=2, help="Most items per task; larger tasks are sampled with a fixed seed.", show_default="all items"
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Truncate texts to this many tokens.", show_default="the model's own length")
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIDE=TEXT",
            help="Prompt for queries or documents, or for one category (sts.query=TEXT); repeatable.",
            show_default="the model's own prompts",
        ),
    ] = None,
    no_prompt: Annotated[bool, typer.Option("--no-prompt", help="Use no prompts.")] = False,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or auto: for poolwise models what a study uses, for others fp32.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(help="Texts per batch.")] = _BATCH_SIZE,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Evaluate a model, with the maximum length and prompts saved with it; or an index.

    Repeat the command to resume after an interruption.
    """
    if index is not None:
        if tasks or out or max_items or max_tokens or prompt or no_prompt:
            raise ConfigError("--index together with options of tasks", "wanted --queries, --qrels, -k and --sweep")
        evaluate_index(index, queries, qrels, k, sweep or [], model, device, as_json)
        return
    if queries or qrels or sweep:
        raise ConfigError("--queries, --qrels or --sweep without --index", "wanted the index that they score")
    if model is None or not tasks or out is None:
        missing = [name for name, given in (("MODEL", model), ("--tasks", tasks), ("--out", out)) if not given]
        raise ConfigError(
            f"poolwise eval without {' and '.join(missing)}", "wanted MODEL, --tasks and --out; or --index"
        )
    if prompt and no_prompt:
        raise ConfigError("give --prompt or --no-prompt, not both")
    options = {"max_tokens": max_tokens, "batch_size": batch_size, "precision": precision}
    config = build_section(EvalConfig, options, "options")
    require_model(model)
    from poolwise.study.single_evaluation import evaluate_single, parse_prompts

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
                **({"by_dimension": record.by_dimension} if record.by_dimension else {}),
            }
            for record in scores
        }
        told = {"model": manifest.model, "design": manifest.design, "read": manifest.notes[-1], "tasks": result}
        show_json(told)
        return
    width = max(len(record.task) for record in scores)
    for record in scores:
        shorter = "".join(f"  {dimension}: {score:.4f}" for dimension, score in record.by_dimension.items())
        show(f"{record.task:{width}}  {record.metric:15}  {record.score:.4f}  {record.num_items} items{shorter}")
    show(manifest.notes[-1])
    show(f"records: {out}")
