"""Paths in a recipe: written relative to the recipe's file, converted to paths relative to the working directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from poolwise.storage.row_files import SUFFIXES

_OURS = ("poolwise/", "mteb:")
"""Prefixes of names that are never paths: what ships with poolwise, and MTEB's tasks."""


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


class RecipePaths:
    """Finds the files and folders that a recipe names.

    ``from_here`` lists names found only in the working directory, to which all paths were relative in version 0.1.

    Args:
        recipe: the recipe's file.
    """

    def __init__(self, recipe: Path) -> None:
        self.home = recipe.parent
        self.from_here: list[str] = []

    def resolve(self, tree: dict[str, Any]) -> None:
        """Replace every path in the mapping of a recipe by one that is relative to the working directory.

        A name is kept as written if it means the same file from both folders, or is not a path, such as a hub id.
        Values that are not text are left to the recipe's own checks.
        """
        for holder, key, find in self._names(tree):
            if isinstance(name := holder[key], str) and not name.startswith(_OURS):
                holder[key] = find(name)

    def spelled(self, name: str) -> str:
        """Return how the recipe must write a path of the working directory."""
        return os.path.relpath(name, self.home)

    def _names(self, tree: dict[str, Any]) -> Iterator[tuple[Any, Any, Callable[[str], str]]]:
        """Yield each place that may hold a path: its mapping or list, its key, and the function that looks it up."""
        sections = {name: value for name, value in tree.items() if isinstance(value, dict)}
        yield from [(tree, "base", self._base)] if "base" in tree else []
        price = sections.get("price", {})
        yield from [(price, "base_config", self._file)] if "base_config" in price else []
        for section, key, find in (
            (sections.get("data", {}), "train", self._source),
            (sections.get("adapt", {}), "data", self._source),
            (tree, "tasks", self._task),
            (tree, "entrants", self._base),
            (sections.get("tune", {}), "dev", self._task),
            (_mapping(sections.get("train", {}).get("early_stopping")), "dev", self._task),
        ):
            found = section.get(key)
            if isinstance(found, str):
                yield section, key, find
            for place, item in enumerate(found if isinstance(found, list) else ()):
                keys = [key for key in ("source", "hub") if isinstance(item, dict) and key in item]
                yield from ((item, key, find) for key in keys)
                yield from [(found, place, find)] if isinstance(item, str) else []

    def _base(self, name: str) -> str:
        if name.lower().endswith(".gguf"):
            folder, sign, file = name.rpartition(":")
            if sign and not Path(name).expanduser().is_absolute():  # FOLDER:FILE or org/name:FILE
                return f"{self._base(folder)}:{file}"
            return self._found(name, Path.is_file) or self._as_seen(name)
        return self._found(name, Path.is_dir) or (self._as_seen(name) if name.startswith(".") else name)

    def _file(self, name: str) -> str:
        return self._found(name, Path.is_file) or self._as_seen(name)

    def _source(self, name: str) -> str:
        looks_like_path = name.startswith(".") or name.endswith(SUFFIXES)
        return self._found(name, Path.exists) or (self._as_seen(name) if looks_like_path else name)

    def _task(self, name: str) -> str:
        place, sign, split = name.rpartition("@")
        if found := self._found(name, Path.is_dir):
            return found
        return f"{self._task(place)}@{split}" if sign and place and split else self._as_seen(name)

    def _found(self, name: str, is_there: Callable[[Path], bool]) -> str | None:
        """Return the path from here to the file in the recipe's folder, else in the working directory, else None."""
        if Path(name).expanduser().is_absolute():
            return name
        if is_there(self.home / name):
            return self._as_seen(name)
        if is_there(Path(name)):
            self.from_here.append(name)
            return name
        return None

    def _as_seen(self, name: str) -> str:
        path = Path(name).expanduser()
        if path.is_absolute() or os.path.relpath(self.home / name) == os.path.normpath(name):
            return name
        seen = os.path.relpath(self.home / name)
        # As text `a/../b` is `b`; on disk it is another path if `a` is a link.
        if (self.home / name).exists() and not (Path(seen).exists() and Path(seen).samefile(self.home / name)):
            seen = str(self.home / name)
        # Without a leading dot, a missing folder could be taken for a hub id.
        return seen if seen.startswith(".") or Path(seen).is_absolute() or Path(seen).exists() else f"./{seen}"
