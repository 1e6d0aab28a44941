"""Which bases are GGUF files, and where each comes from: a path, a folder, a hub repository, a package."""

from __future__ import annotations

import glob
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from poolwise.base_sources.catalogue import PACKAGED, is_built_in
from poolwise.base_sources.package import packaged_file
from poolwise.errors import ModelError, nearest
from poolwise.hub import is_hub_id, snapshot
from poolwise.storage.fingerprints import file_hash

SUFFIX = ".gguf"
_FORMS = (
    "wanted the path of a .gguf file, FOLDER:FILE.gguf, or org/name:FILE.gguf of the hub (org/name@commit:FILE.gguf)"
)


@dataclass(frozen=True)
class GgufSource:
    """A base in a GGUF file.

    Args:
        file: the file's name, without folders.
        pinned: a name that always refers to the same file: its full path, its hub commit, or the packaged base.
        sha256: of the file; known without the file for a packaged base.
        fetch: returns the file itself.
    """

    file: str
    pinned: str
    sha256: str
    fetch: Callable[[], Path]


def is_gguf_name(name: str) -> bool:
    """Return whether a base's name says that it is in a GGUF file."""
    return name in PACKAGED or name.lower().endswith(SUFFIX)


def require_there(name: str, what: str = "model") -> None:
    """Raise ModelError for a name that is no path, no built-in base and no hub id: at once, without torch.

    Args:
        what: the name is of a "model" or a "base".
    """
    if is_built_in(name) or is_gguf_name(name) or is_hub_id(name) or Path(name).expanduser().exists():
        return
    raise ModelError(
        f"no {what} {name!r}",
        "wanted a folder that exists, or a hub id: org/name",
        "check the path" if what == "model" else "check the path; poolwise bases lists what is at hand",
    )


def find_gguf(name: str) -> GgufSource | None:
    """Return the GGUF file of a base; None for a base of another kind.

    Raises: ModelError where the name says that it is a GGUF file, but there is none.
    """
    if not is_gguf_name(name) or Path(name).expanduser().is_dir():
        return None
    if (packaged := PACKAGED.get(name)) is not None:
        return GgufSource(packaged.file_name, name, packaged.file_sha256, lambda: packaged_file(packaged))
    path = Path(name).expanduser()
    if path.is_file():
        return _of_path(path)
    place, sign, file = name.rpartition(":")
    folder = Path(place).expanduser()
    if sign and folder.is_dir():
        return _of_path(folder / file)
    if sign and is_hub_id(place):
        return _of_hub(place, file)
    if not sign and path.parent.is_dir():
        raise _missing(path)
    raise ModelError(f"no GGUF file {name!r}", _FORMS)


def refuse_unnamed_gguf(name: str, folder: Path) -> None:
    """Raise ModelError where a base's folder has no configuration but GGUF files: one of them must be named."""
    files = sorted(path.name for path in folder.glob(f"*{SUFFIX}"))
    if files and not (folder / "config.json").is_file():
        raise ModelError(f"base {name!r} has no config.json, but {', '.join(files)}", _FORMS, f"try {name}:{files[0]}")


def _of_path(path: Path) -> GgufSource:
    if not path.is_file():
        raise _missing(path)
    return GgufSource(path.name, str(path.resolve()), file_hash(path), lambda: path)


def _missing(path: Path) -> ModelError:
    found = [other.name for other in path.parent.glob(f"*{SUFFIX}")] if path.parent.is_dir() else []
    hint = nearest(path.name, found) if found else "check the path, or give the base's new place with base="
    return ModelError(f"no GGUF file {str(path)!r}", _FORMS, hint)


def _of_hub(repository: str, file: str) -> GgufSource:
    try:
        folder = snapshot(repository, [glob.escape(file)])
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        hint = "without a network, fetch the file elsewhere and give its path"
        raise ModelError(f"cannot fetch {file} of {repository}: {reason}", _FORMS, hint) from error
    path = folder / file
    if not path.is_file():
        hint = f"see https://huggingface.co/{repository.partition('@')[0]}/tree/main for its files"
        raise ModelError(f"{repository} has no file {file}, or it could not be fetched", _FORMS, hint)
    pinned = f"{repository.partition('@')[0]}@{folder.name}:{file}"
    return GgufSource(path.name, pinned, file_hash(path), lambda: path)
