"""``poolwise verify``: whether the files of a folder that poolwise wrote are as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poolwise.cli.options import Json, show, show_json

if TYPE_CHECKING:
    from poolwise.integrity import Verified

EXAMPLES = ("poolwise verify runs/quickstart", "poolwise verify my-export --json")
_DAMAGED = 1
_MOST_SHOWN = 20


def verify(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Study, screen, run, model, checkpoints, corpus, index, experiment or export."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Compare the files of a folder with their checksums; name what is damaged, missing or unlisted, and the repair.

    An export must also give the embeddings that poolwise gave when it was made, in a fresh process, which needs the
    libraries that the export needs. Exit code 1: a file is damaged or missing; 2: the folder is none of these, or an
    export differs.
    """
    from poolwise.integrity import verify_folder

    found = verify_folder(folder)
    if as_json:
        show_json({**found.model_dump(exclude={"facts"}), **found.facts})
    else:
        for line in _lines(found):
            show(line)
    if found.damaged:
        raise typer.Exit(_DAMAGED)


def _lines(found: Verified) -> Iterator[str]:
    yield from found.notes
    for name, problem in list(found.damaged.items())[:_MOST_SHOWN]:
        yield f"damaged: {name} {problem}"
    if (more := len(found.damaged) - _MOST_SHOWN) > 0:
        yield f"damaged: {more} more files"
    for name in found.unlisted[:_MOST_SHOWN]:
        yield f"unlisted: {name}"
    if (more := len(found.unlisted) - _MOST_SHOWN) > 0:
        yield f"unlisted: {more} more files"
    state = f"{len(found.damaged)} damaged or missing" if found.damaged else "none is damaged or missing"
    yield f"{found.kind} {found.folder}: {found.num_checked} files compared with their checksums, {state}"
    if found.repair:
        yield f"to repair: {found.repair}"
