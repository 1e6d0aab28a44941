"""``poolwise mine``: finds hard negatives for training pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Device, Json, require_model, say, show, show_json

EXAMPLES = (
    "poolwise mine pairs.jsonl --model runs/mine --out mined.jsonl",
    "poolwise mine poolwise/pydoc --model runs/mine --negatives 3 --relative-margin 0.1 --out mined.jsonl.gz",
)


def mine(
    pairs: Annotated[str, typer.Argument(help="Training pairs: file, folder, data set of the hub or poolwise/pydoc.")],
    model: Annotated[str, typer.Option(help="Embedding model that ranks the documents: run, folder or hub id.")],
    out: Annotated[Path, typer.Option(help="New file for the rows: .jsonl or .jsonl.gz; data.train reads it.")],
    negatives: Annotated[int, typer.Option(help="Most negatives per pair.")] = 5,
    range_min: Annotated[int, typer.Option(help="Leave out this many of a query's highest candidates.")] = 0,
    range_max: Annotated[
        int | None,
        typer.Option(help="Rank down to which candidates are looked at.", show_default="10 per negative"),
    ] = None,
    relative_margin: Annotated[
        float, typer.Option(help="A negative's score is lower than the positive's by at least this share of it.")
    ] = 0.05,
    absolute_margin: Annotated[
        float | None,
        typer.Option(help="A negative's score is lower than the positive's by at least this.", show_default="none"),
    ] = None,
    max_score: Annotated[
        float | None, typer.Option(help="A negative's score is at most this.", show_default="none")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="A negative's score is at least this.", show_default="none")
    ] = None,
    max_rows: Annotated[int | None, typer.Option(min=2, help="Most pairs read.", show_default="all rows")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART=NAME",
            help="Name of a field in the pairs: query=NAME or positive=NAME; repeatable.",
            show_default="detected",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Texts per batch.")] = 64,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Find hard negatives: documents of other pairs that a model ranks high for a query.

    The guards keep out documents that may answer the query too. Scores are cosine similarities.
    """
    from poolwise.config import ColumnNames, SourceConfig, build_section
    from poolwise.data import describe_sources, load_sources

    names = _columns(column or [])
    columns = build_section(ColumnNames, names | {"negative": []}, "--column") if names else None
    require_model(model)
    from poolwise.mining import MiningConfig, held_new, mine_pairs, report_lines, report_path, save_mined

    options: dict[str, object] = {
        "negatives": negatives,
        "range_min": range_min,
        "range_max": range_max,
        "batch_size": batch_size,
    }
    options |= {"relative_margin": relative_margin, "absolute_margin": absolute_margin}
    config = build_section(MiningConfig, options | {"max_score": max_score, "min_score": min_score}, "options")
    with held_new(out):
        training = load_sources([SourceConfig(source=pairs, columns=columns)], max_rows, 0)
        say("\n".join(describe_sources(training)))
        from poolwise.models import load_any

        loaded = load_any(model, device=device, for_encoding=False)
        rows, report = mine_pairs(training.triples, loaded, config, model)
        save_mined(rows, report, out)
    if as_json:
        show_json(json.loads(report.model_dump_json()))
    else:
        show("\n".join(report_lines(report)))
    say(f"rows: {out}\nreport: {report_path(out)}")


def _columns(texts: list[str]) -> dict[str, str]:
    """Return the names of fields by part. Raises: ConfigError for a text that is not PART=NAME."""
    from poolwise.errors import ConfigError

    found: dict[str, str] = {}
    for text in texts:
        part, sign, name = text.partition("=")
        if not (sign and name) or part not in ("query", "positive") or part in found:
            raise ConfigError(f"--column {text}", "wanted query=NAME or positive=NAME, each once")
        found[part] = name
    return found
