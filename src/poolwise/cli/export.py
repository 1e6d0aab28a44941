"""``poolwise export`` and ``poolwise verify``: a model for other programs, and the check that it gives the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poolwise.cli.options import Device, Json, require_model, say

if TYPE_CHECKING:
    from poolwise.export import Checked

EXPORT_EXAMPLES = (
    "poolwise export runs/mine --target sentence-transformers --out my-model",
    "poolwise export runs/mine --target onnx --int8 --out my-graph",
)
VERIFY_EXAMPLES = ("poolwise verify my-model", "poolwise verify my-model --json")


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
    _print(checked, as_json)
    say(f"export: {out}\nhow to load it: {out / 'README.md'}")


def verify(
    folder: Annotated[Path, typer.Argument(metavar="EXPORT", help="Folder that poolwise export wrote.")],
    as_json: Json = False,
) -> None:
    """Check that an export gives the embeddings that poolwise gave when it was made, in a fresh process.

    It needs the libraries that the export needs. It exits with 2 and names the texts where the export differs.
    """
    from poolwise.export import verify_export

    _print(verify_export(folder), as_json)


def _print(checked: Checked, as_json: bool) -> None:
    golden = checked.golden
    if as_json:
        rows = [
            {"label": row.probe.label, "prompt_name": row.probe.prompt_name, "difference": row.amount}
            for row in checked.differences
        ]
        found = {"target": golden.target, "design": golden.design, "largest_difference": checked.worst}
        print(json.dumps({**found, "tolerance": golden.tolerance, "texts": rows}, indent=2))
        return
    print(
        f"{golden.design} as {golden.target}: {len(checked.differences)} texts differ by at most {checked.worst:.1e} "
        f"({golden.tolerance:.0e} is allowed)"
    )
