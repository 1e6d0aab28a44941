"""``poolwise doctor``: does a model do what its card says?"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from poolwise.cli.options import Device, Json, placed_on, require_finished

EXAMPLES = ("poolwise doctor runs/mine", "poolwise doctor sentence-transformers/all-MiniLM-L6-v2 --json")


def doctor(
    model: Annotated[str, typer.Argument(help="A folder or hub id of an embedding model.")],
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Check a model's attention by probe, its EOS, its padding side, and that batches do not change embeddings."""
    require_finished(model)
    place = placed_on(device)
    from poolwise.models import diagnose
    from poolwise.models.load_any import load_any

    checks = diagnose(load_any(model, for_encoding=False, **place))
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
