"""``poolwise export``: a model for other programs, checked to give the same embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Device, Json, require_model, say, show, show_json

EXAMPLES = (
    "poolwise export runs/mine --target sentence-transformers --out my-model",
    "poolwise export runs/mine --target onnx --int8 --out my-graph",
)


def export(
    model: Annotated[str, typer.Argument(help="Model of poolwise: folder, run or hub id.")],
    target: Annotated[str, typer.Option(help="sentence-transformers, merged, onnx or gguf.")],
    out: Annotated[Path, typer.Option(help="New folder for the export.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="With onnx: matrices in int8. The README says how far embeddings moved.")
    ] = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Write a model in the format of other programs, and check in a fresh process that it gives the same embeddings.

    Nothing is written where the target cannot express the model, or the export differs.
    """
    require_model(model)
    from poolwise.export import export_model

    checked = export_model(model, target, out, options={"int8": True} if int8 else None, device=device)
    if as_json:
        show_json(checked.facts)
    else:
        show(checked.words)
    say(f"export: {out}\nhow to load it: {out / 'README.md'}")
