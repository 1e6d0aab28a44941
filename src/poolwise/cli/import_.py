"""``poolwise import``: a model that others published becomes a poolwise model."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Json, show, show_json

EXAMPLES = (
    "poolwise import their-adapter --design paper:5 --base mistralai/Mistral-7B-v0.1 --out models/paper5",
    "poolwise import llm2vec-mntp llm2vec-supervised --out models/llm2vec",
)


class Layout(StrEnum):
    """The layouts of published models that are known."""

    auto = "auto"
    paper = "paper"
    llm2vec = "llm2vec"
    gritlm = "gritlm"
    nv_embed = "nv-embed"


def import_(
    folders: Annotated[
        list[str], typer.Argument(help="Folder or hub id of the model; several are adapters in the order of training.")
    ],
    out: Annotated[Path, typer.Option(help="New or empty folder for the poolwise model.")],
    layout: Annotated[Layout, typer.Option("--format", help="How the model was published.")] = Layout.auto,
    design: Annotated[
        str | None, typer.Option(help="Of the paper's models: paper:1 to paper:5.", show_default="none")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The model that the adapters were trained on.", show_default="the one they name")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=4, help="Longest text in tokens.", show_default="the model's own")
    ] = None,
    as_json: Json = False,
) -> None:
    """Save a model that others published as a poolwise model with the same embeddings.

    The paper's adapters with their heads, LLM2Vec and GritLM are mapped exactly; what cannot be is refused.
    Code in the folders is never run.
    """
    from poolwise.hub import local_folder

    for name in folders:
        local_folder(name, "a published model")  # before torch is imported, which takes seconds
    from poolwise.imports import import_model
    from poolwise.imports.build import checks_text

    record = import_model(folders, out, layout=layout.value, design=design, base=base, max_tokens=max_tokens)
    if as_json:
        show_json(asdict(record))
    else:
        show("\n".join([f"model: {out}", *checks_text(record)]))
