"""``poolwise push``: sends a saved model to a hub, with its model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import say, show
from poolwise.errors import ModelError

EXAMPLES = (
    "poolwise push runs/mine my-org/my-model --dry-run",
    "poolwise push runs/mine my-org/my-model --private --include-base",
)


def push(
    model: Annotated[Path, typer.Argument(help="Folder of a saved model, or of its run.")],
    repository: Annotated[str, typer.Argument(help="ORG/NAME on the hub; created if it does not exist.")],
    private: Annotated[bool, typer.Option("--private", help="Create the repository as a private one.")] = False,
    include_base: Annotated[
        bool, typer.Option("--include-base", help="Send the base's files too, so that nothing else is fetched.")
    ] = False,
    branch: Annotated[
        str | None, typer.Option(help="Branch to commit to; created if it does not exist.", show_default="main")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Commit over another model that is there; its history keeps the old one."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the files, their sizes and the model card; send nothing.")
    ] = False,
) -> None:
    """Send a model and its model card to a hub, in one commit.

    The hub is that of HF_ENDPOINT, huggingface.co unless it is set. The token is HF_TOKEN, or the one that
    hf auth login saved.
    """
    if not model.expanduser().is_dir():
        raise ModelError(
            f"no folder {str(model)!r}", "wanted one that poolwise saved, or the folder of a run", "check the path"
        )
    from poolwise.publish import build_bundle, push_bundle

    bundle = build_bundle(model, repository, include_base=include_base)
    for note in bundle.notes:
        say(f"note: {note}")
    if dry_run:
        sizes = bundle.sizes
        width = max(map(len, sizes))
        for name, size in sizes.items():
            show(f"{name:{width}}  {size:>15,} bytes")
        show(f"{len(sizes)} files, {sum(sizes.values()) / 1e6:,.1f} MB; nothing was sent\n\n{bundle.card}", end="")
        return
    say(f"sending {len(bundle.files)} files, {sum(bundle.sizes.values()) / 1e6:,.1f} MB, to {repository}")
    pushed = push_bundle(bundle, private=private, branch=branch, replaces=replace)
    show(f"{'created' if pushed.is_new else 'updated'}: {pushed.url}")
    show(f'load it with: poolwise.load_model("{pushed.repository}@{pushed.commit}")')
