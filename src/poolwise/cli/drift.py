"""``poolwise drift``: how much search results change from one index or model to another."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poolwise.cli.options import Device, Json, show, show_json

if TYPE_CHECKING:
    from poolwise.search.drift import Drift, Mean

EXAMPLES = (
    "poolwise drift index new-index --queries queries.jsonl",
    "poolwise drift runs/mine runs/new index --queries queries.jsonl --documents 20000",
)


def drift(
    old: Annotated[str, typer.Argument(help="Index that is in use; or its model, if INDEX is given.")],
    new: Annotated[str, typer.Argument(help="Index that may replace it; or another model, if INDEX is given.")],
    queries: Annotated[Path, typer.Option(help="File of your queries: jsonl, csv, parquet, or a query per line.")],
    index: Annotated[
        Path | None,
        typer.Argument(help="Index of the old model; its stored texts are encoded with the new one."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Best rows that are compared.")] = 10,
    documents: Annotated[
        int, typer.Option(min=1, help="Rows of INDEX that are encoded; a sample if it has more.")
    ] = 10_000,
    most: Annotated[int, typer.Option(min=0, help="Queries that are shown, those that change most.")] = 5,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure how much the best rows of your queries change before you switch index or model.

    Overlap and rank-biased overlap are 1 where nothing changes. Intervals are 95% intervals over queries.
    """
    from poolwise.search.drift import compare_indexes, compare_models
    from poolwise.search.index import open_index
    from poolwise.search.query_files import load_queries

    asked = load_queries(queries)
    if index is not None:
        found = compare_models(old, new, index, asked, k, most_documents=documents, device=device)
    else:
        with open_index(old, device=device) as before, open_index(new, device=device) as after:
            found = compare_indexes(before, after, asked, k)
    if as_json:
        show_json(asdict(found))
    else:
        show("\n".join(_lines(found, most)))


def _lines(found: Drift, most: int) -> list[str]:
    lines = [
        f"{len(found.queries)} queries, {found.num_rows:,} rows that both have "
        f"({found.num_only_old:,} only in the old, {found.num_only_new:,} only in the new)",
        f"overlap at {found.k}:          {_mean(found.overlap)}",
        f"rank-biased overlap:    {_mean(found.rbo)}",
        f"ranks that a row moves: {_mean(found.displaced)} (beyond rank {found.depth} counts as {found.depth + 1})",
    ]
    if found.overlap.interval is None:
        lines.append("too few queries for intervals: at least 10 needed")
    changed = [query for query in found.queries if query.rbo < 1][:most]
    for query in changed:
        lost = ", ".join(query.lost[:3]) or "none"
        gained = ", ".join(query.gained[:3]) or "none"
        lines.append(f"  {query.overlap:.2f}  {query.id}: {_short(query.text)}  (lost {lost}; gained {gained})")
    return lines


def _mean(mean: Mean) -> str:
    interval = "" if mean.interval is None else f" [{mean.interval[0]:.3f}, {mean.interval[1]:.3f}]"
    return f"{mean.value:.3f}{interval}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."
