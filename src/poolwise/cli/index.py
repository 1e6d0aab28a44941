"""``poolwise index``: an encoded corpus into an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poolwise.cli.options import Json, step_view

if TYPE_CHECKING:
    from poolwise.search.index_record import IndexRecord

EXAMPLES = (
    "poolwise index embeddings --out index",
    "poolwise index embeddings --out index --backend exact --similarity dot",
)
SettingOption = Annotated[
    list[str] | None,
    typer.Option("--setting", metavar="KEY=VALUE", help="Setting of the backend; repeatable.", show_default="none"),
]


def index(
    corpus: Annotated[Path, typer.Argument(help="Folder that `poolwise encode` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the index; an index that is there is replaced.")],
    backend: Annotated[str, typer.Option(help="exact, or auto: by the number of rows.")] = "auto",
    setting: SettingOption = None,
    similarity: Annotated[
        str | None, typer.Option(help="cosine or dot.", show_default="what the model was made for")
    ] = None,
    query_prompt: Annotated[
        str | None, typer.Option(help="Text before every query.", show_default="the model's query prompt")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build an index of an encoded corpus. `poolwise search` answers queries from it.

    The index has vectors, texts and fields of its own, and does not need the corpus any more.
    """
    from poolwise.search import build_index

    with step_view("rows") as view:
        built = build_index(
            corpus,
            out,
            backend=backend,
            settings=parse_settings(setting),
            similarity=similarity,
            query_prompt=query_prompt,
            on_progress=view.advance,
        )
    with built:
        record = built.record
    print(json.dumps(_json(record), indent=2) if as_json else "\n".join(_lines(record, out)))


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
    settings = "".join(f", {name}={value}" for name, value in record.settings.items() if value is not None)
    return [
        f"{out}: {record.num_rows:,} rows of {record.dim} numbers, {record.dtype}, {record.similarity}",
        f"backend: {record.backend} ({record.reason}){settings}",
    ]


def _json(record: IndexRecord) -> dict[str, Any]:
    kept = ("num_rows", "dim", "dtype", "similarity", "backend", "reason", "settings", "fingerprint")
    told = record.model_dump(mode="json", include=set(kept))
    return {**told, "num_bytes": sum(file.num_bytes for file in record.files)}
