"""``poolwise search``: the best rows of an index for queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poolwise.cli.index import Model, SettingOption, parse_settings
from poolwise.cli.options import Device, Json, show, show_json

if TYPE_CHECKING:
    from poolwise.search import Hit

EXAMPLES = (
    'poolwise search index "how do I read a file"',
    "poolwise search index \"open a file\" -k 5 --where lang=en --where 'year>=2020' --json",
)
_SHOWN = 100
"""Characters of a text on one line."""


def search(
    index: Annotated[Path, typer.Argument(help="Folder that `poolwise index` wrote.")],
    queries: Annotated[list[str], typer.Argument(metavar="QUERY...", help="One or more queries, each in quotes.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Results per query.")] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Only rows whose stored field is so: =, !=, <, <=, > or >=; repeatable, all must hold.",
            show_default="all rows",
        ),
    ] = None,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Fuse with BM25, in an index that was built with --hybrid.")
    ] = False,
    rerank: Annotated[
        str | None,
        typer.Option(metavar="CROSS-ENCODER", help="Folder or hub id of a cross-encoder.", show_default="none"),
    ] = None,
    rerank_depth: Annotated[int, typer.Option(min=1, help="Rows that the cross-encoder reads per query.")] = 50,
    model: Model = None,
    setting: SettingOption = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Print the best rows of an index for each query.

    Queries are encoded by the model of the corpus, with its prompt for queries; another model is refused.
    """
    from poolwise.search import open_index

    with open_index(index, model=model, device=device, settings=parse_settings(setting)) as opened:
        results = opened.search(queries, k, where=where, hybrid=hybrid, rerank=rerank, rerank_depth=rerank_depth)
    if as_json:
        told = [
            {"query": query, "hits": [asdict(hit) for hit in hits]}
            for query, hits in zip(queries, results, strict=True)
        ]
        show_json(told)
        return
    for number, (query, hits) in enumerate(zip(queries, results, strict=True)):
        if len(queries) > 1:
            show(f"{'' if number == 0 else chr(10)}{query}")
        show("\n".join(_lines(hits)) or "nothing found")


def _lines(hits: Sequence[Hit]) -> list[str]:
    width = max((len(hit.id) for hit in hits), default=0)
    return [
        f"{rank:>3}  {hit.score:.4f}  {hit.id:{width}}  {_short(hit.text)}".rstrip() for rank, hit in enumerate(hits, 1)
    ]


def _short(text: str | None) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."
