"""What poolwise keeps in its cache folder: listed, measured and cleared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from poolwise.errors import ConfigError, ModelError, nearest
from poolwise.storage.cache import cache_folder
from poolwise.storage.fingerprints import LENGTH
from poolwise.storage.json_text import load_json
from poolwise.storage.whole_files import PARTIAL, write_text

ORIGIN = "gguf.json"
Kind = Literal["dequantised", "fetched", "tasks", "unfinished"]
_KINDS: dict[str, Kind] = {"gguf": "dequantised", "fetched": "fetched", "pydoc": "tasks"}
"""By the first part of a folder's name. Clearing deletes such folders only, whatever else the cache folder holds."""


@dataclass(frozen=True)
class Origin:
    """The GGUF file that a cached base was dequantised from.

    ``is_verified`` says that poolwise's attentions were verified on the architecture.
    """

    file: str
    sha256: str
    quantisation: str
    architecture: str
    num_layers: int
    hidden_size: int
    licence: str
    is_verified: bool


@dataclass(frozen=True)
class CachedItem:
    """One folder of the cache. ``what`` is for people: the name of the GGUF file, or what was built."""

    name: str
    kind: Kind
    what: str
    num_bytes: int
    path: Path


def dequantised_folder(sha256: str) -> Path:
    """Return where the base of a GGUF file is cached, whether it exists or not."""
    return cache_folder() / f"gguf-{sha256[:LENGTH]}"


def fetched_folder(sha256: str) -> Path:
    """Return where a fetched GGUF file is cached, whether it exists or not."""
    return cache_folder() / f"fetched-{sha256[:LENGTH]}"


def save_origin(origin: Origin, folder: Path) -> None:
    """Write the origin into the folder of a dequantised base."""
    write_text(folder / ORIGIN, json.dumps(asdict(origin), indent=2) + "\n")


def load_origin(folder: Path) -> Origin:
    """Return the origin of the base in a folder of the cache.

    Raises: ModelError where it cannot be read.
    """
    try:
        return Origin(**load_json(folder / ORIGIN))
    except (OSError, ValueError, TypeError) as error:
        hint = f"poolwise cache clear {folder.name}"
        raise ModelError(f"cannot read {folder / ORIGIN}: {error}", "wanted what poolwise wrote there", hint) from error


def cached_items() -> list[CachedItem]:
    """Return the folders that poolwise keeps in its cache, sorted by name."""
    folder = cache_folder()
    found = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [_item(path, kind) for path in found if (kind := _kind(path.name))]


def clear(names: Sequence[str]) -> list[CachedItem]:
    """Delete folders of the cache, all of them if no name is given, and return what was deleted.

    Raises: ConfigError for a name that is not in the cache, before anything is deleted.
    """
    items = cached_items()
    known = {item.name: item for item in items}
    if missing := [name for name in names if name not in known]:
        hint = nearest(missing[0], known) if known else ""
        raise ConfigError(f"{', '.join(missing)}: not in the cache folder {cache_folder()}", hint=hint)
    chosen = [known[name] for name in dict.fromkeys(names)] if names else items
    for item in chosen:
        try:
            shutil.rmtree(item.path)
        except OSError as error:
            raise ConfigError(f"cannot delete {item.path}: {error.strerror or error}") from error
    return chosen


def _kind(name: str) -> Kind | None:
    is_partial = name.startswith(".") and name.endswith(PARTIAL)
    kind = _KINDS.get(name.lstrip("." if is_partial else "").partition("-")[0]) if "-" in name else None
    return "unfinished" if kind and is_partial else kind


def _item(path: Path, kind: Kind) -> CachedItem:
    return CachedItem(path.name, kind, _what(path, kind), folder_bytes(path), path)


def _what(path: Path, kind: Kind) -> str:
    if kind == "dequantised" and (path / ORIGIN).is_file():
        origin = load_origin(path)
        return f"{origin.file} ({origin.quantisation}, dequantised to fp32)"
    if kind == "fetched":
        return ", ".join(sorted(file.name for file in path.glob("*.gguf")))
    return (
        "tasks and training pairs of poolwise/pydoc"
        if kind == "tasks"
        else "being written, or left by a process that was killed"
    )


def folder_bytes(folder: Path) -> int:
    """Return the number of bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
