"""``poolwise doctor``: checks whether a model behaves as its model card says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Device, Json
from poolwise.records import require_finished

EXAMPLES = ("poolwise doctor runs/mine", "poolwise doctor sentence-transformers/all-MiniLM-L6-v2 --json")


def doctor(
    model: Annotated[str, typer.Argument(help="Folder or hub id of an embedding model.")],
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Check a model's attention (by probe), EOS and padding side, and that batching does not change embeddings."""
    require_finished(Path(model))
    from poolwise.models import diagnose
    from poolwise.models.load import load_any

    checks = diagnose(load_any(model, for_encoding=False, device=device))
    if as_json:
        print(
            json.dumps(
                [{"name": c.name, "status": c.status, "found": c.found, "hint": c.hint} for c in checks], indent=2
            )
        )
    else:
        for check in checks:
            print(f"{check.status:4}  {check.name}: {check.found}" + (f"; {check.hint}" if check.hint else ""))
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(2)
