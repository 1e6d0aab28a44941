"""``poolwise index``: an encoded corpus into an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poolwise.cli.options import Device, Json, show, show_json, step_view

if TYPE_CHECKING:
    from poolwise.search.index_record import IndexRecord

EXAMPLES = (
    "poolwise index embeddings --out index",
    "poolwise index embeddings --out index --backend faiss-hnsw --setting ef_search=256 --hybrid",
)
SettingOption = Annotated[
    list[str] | None,
    typer.Option("--setting", metavar="KEY=VALUE", help="Setting of the backend; repeatable.", show_default="none"),
]
Model = Annotated[
    str | None, typer.Option(help="The model of the corpus, if it has moved.", show_default="as recorded")
]


def index(
    corpus: Annotated[Path, typer.Argument(help="Folder that `poolwise encode` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the index; an index of the same corpus is updated.")],
    backend: Annotated[
        str,
        typer.Option(
            help="exact, faiss-hnsw, faiss-ivfpq, faiss, lancedb, pgvector, qdrant, or auto: by the number of rows."
        ),
    ] = "auto",
    setting: SettingOption = None,
    rescore: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The same rows in float32 or float16, with which the best rows are scored again.",
            show_default="none",
        ),
    ] = None,
    similarity: Annotated[
        str | None, typer.Option(help="cosine or dot.", show_default="what the model was made for")
    ] = None,
    query_prompt: Annotated[
        str | None, typer.Option(help="Text before every query.", show_default="the model's query prompt")
    ] = None,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Index the words of the texts too (BM25).")] = False,
    min_recall: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of the nearest rows that the backend must find.")
    ] = 0.95,
    recall_k: Annotated[int, typer.Option(min=1, help="Nearest rows that count for the recall.")] = 10,
    queries: Annotated[
        Path | None,
        typer.Option(help="File of queries to measure recall with.", show_default="200 rows of the corpus"),
    ] = None,
    model: Model = None,
    device: Device = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an index of another corpus, model or settings.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build an index of an encoded corpus. `poolwise search` answers queries from it.

    The index has vectors, texts and fields of its own, and does not need the corpus any more.
    """
    from poolwise.search import build_index
    from poolwise.search.query_files import load_queries

    with step_view("rows") as view:
        built = build_index(
            corpus,
            out,
            backend=backend,
            settings=parse_settings(setting),
            rescore=rescore,
            similarity=similarity,
            query_prompt=query_prompt,
            hybrid=hybrid,
            min_recall=min_recall,
            recall_k=recall_k,
            queries=None if queries is None else [text for _, text in load_queries(queries)],
            model=model,
            device=device,
            replace=replace,
            on_progress=view.advance,
        )
    with built:
        record = built.record
    if as_json:
        show_json(_json(record))
    else:
        show("\n".join(_lines(record, out)))


def parse_settings(given: list[str] | None) -> dict[str, Any]:
    """Return the settings of ``KEY=VALUE`` options. Raises: ConfigError for another form."""
    from poolwise.errors import ConfigError
    from poolwise.storage.yaml_text import parse_value

    found = {}
    for text in given or []:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--setting {text}", "wanted KEY=VALUE")
        found[key.strip()] = parse_value(value)
    return found


def _lines(record: IndexRecord, out: Path) -> list[str]:
    # Exact search has a setting too, but nothing to choose.
    chosen = {} if record.recall is None else record.settings
    settings = "".join(f", {name}={value}" for name, value in chosen.items() if value is not None)
    lines = [
        f"{out}: {record.num_rows:,} rows of {record.dim} numbers, {record.dtype}, {record.similarity}",
        f"backend: {record.backend} ({record.reason}){settings}",
    ]
    if record.rescore is not None:
        lines.append(f"rescored with: {record.rescore.corpus}, {record.rescore.dtype}")
    if (recall := record.recall) is not None:
        who = "rows of the corpus" if recall.queries == "documents" else "queries"
        lines.append(f"recall at {recall.k}: {recall.value:.3f} of exact search, on {recall.num_queries} {who}")
    return lines


def _json(record: IndexRecord) -> dict[str, Any]:
    kept = ("num_rows", "dim", "dtype", "similarity", "backend", "reason", "settings", "rescore", "recall")
    told = record.model_dump(mode="json", include={*kept, "fingerprint"})
    return {**told, "num_bytes": sum(file.num_bytes for file in record.files)}
