"""``poolwise cache``: lists and clears poolwise's own cache folder."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from poolwise.cli.options import Json, say, show_json

EXAMPLES = ("poolwise cache", "poolwise cache clear gguf-b179c9523d0e6a0f")


class Action(StrEnum):
    """What to do with the cache."""

    list = "list"
    clear = "clear"


def cache(
    action: Annotated[Action, typer.Argument(help="What to do.")] = Action.list,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="With clear: what to delete; else everything."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List or clear poolwise's cache: dequantised and fetched bases, and the built-in tasks.

    All of it is made again when it is needed. The folder is $POOLWISE_CACHE, or else poolwise below $XDG_CACHE_HOME or
    ~/.cache.
    """
    from poolwise.base_sources.cached import cached_items, clear
    from poolwise.errors import ConfigError
    from poolwise.storage.cache import cache_folder

    if names and action is Action.list:
        raise ConfigError(f"names are given to list: {', '.join(names)}", hint="poolwise cache clear NAME deletes them")
    items = clear(names or []) if action is Action.clear else cached_items()
    if as_json:
        keys = ("name", "kind", "what", "num_bytes")
        show_json([{key: getattr(item, key) for key in keys} for item in items])
        return
    from poolwise.cli.table_view import print_table

    rows = [(item.name, item.kind, f"{item.num_bytes / 1e6:,.1f} MB", item.what) for item in items]
    if rows:
        print_table(("name", "kind", "size", "what"), rows)
    total = sum(item.num_bytes for item in items) / 1e6
    say(f"{'deleted from' if action is Action.clear else 'in'} {cache_folder()}: {len(items)} folders, {total:,.1f} MB")
