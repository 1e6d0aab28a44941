"""``poolwise doctor``: measures how a model or a base behaves, and writes a corrected copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poolwise.cli.options import Device, Json, prepare_base, require_model, say, show, show_json, step_view

if TYPE_CHECKING:
    from poolwise.checks import Check, Fix

EXAMPLES = ("poolwise doctor runs/mine", "poolwise doctor path/to/model --fix path/to/copy")
_FAILED = 1


def doctor(
    model: Annotated[str, typer.Argument(help="Folder or hub id of an embedding model or a base.")],
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT",
            help="New or empty folder for a copy in which settings are corrected; the copy is checked too.",
            show_default="no copy",
        ),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure what a model does: attention, tokens, padding, pooling, norms, embeddings, speed.

    A base, which has no embedding head, is judged by what poolwise can build on it. Exit code 1: a check failed.
    """
    require_model(model)
    prepare_base(model)
    from poolwise.checks import examine

    with step_view("doctor") as view:
        found = examine(model, device=device, fix=fix, is_trusted=trust_remote_code, on_progress=view.advance)
    if as_json:
        show_json({"model": model, **found.as_dict()})
    else:
        _print_table(found.checks)
        if found.fix is not None:
            _print_fix(found.fix)
    if found.has_failed if found.fix is None else found.fix.has_failed:
        raise typer.Exit(_FAILED)


def _print_table(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks)
    indent = " " * (6 + width + 2)
    for check in checks:
        is_wrong = check.status in ("warn", "fail")
        wanted = f"; wanted: {check.wanted}" if is_wrong and check.wanted else ""
        show(f"{check.status:4}  {check.name:{width}}  {check.found}{wanted}")
        if check.guards:
            show(f"{indent}guards against {check.guards}")
        if is_wrong and check.hint:
            show(f"{indent}to do: {check.hint}")
    counts = Counter(check.status for check in checks)
    show(", ".join(f"{counts[status]} {status}" for status in ("pass", "warn", "fail", "skip") if counts[status]))


def _print_fix(fix: Fix) -> None:
    for name, change in fix.changes.items():
        show(f"fixed {name}: {change}")
    left = [check for check in fix.checks if check.status in ("warn", "fail")]
    for check in left:
        show(f"left  {check.name}: {check.status}; {check.hint or check.found}")
    say(f"copy: {fix.out}")
