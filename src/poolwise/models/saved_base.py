"""How a saved model names its base, finds it again on another machine, and takes it along."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from poolwise.base_sources.catalogue import is_built_in
from poolwise.base_sources.find import find_gguf, is_gguf_name
from poolwise.errors import ModelError
from poolwise.hub import is_hub_id
from poolwise.models.backbone_files import add_settings, read_config
from poolwise.models.bases import FINGERPRINTED, base_fingerprint, locate_base, pinned_base
from poolwise.models.saved_folder import CONFIG, INCLUDED_BASE
from poolwise.storage.whole_files import PARTIAL, write_text

_ALONGSIDE = re.compile(r".*\.jinja|(README|LICEN[CS]E|NOTICE)(\.\w+)?", re.IGNORECASE)
"""Files of a base that its fingerprint leaves out, but that belong with it: chat templates, licences."""
_SNAPSHOT = re.compile(r".*/models--([\w.-]+)--([\w.-]+)/snapshots/([0-9a-f]{40})")
_LOCAL = ("base_places", "base_beside")


def base_record(base: str, folder: Path, name: str | None = None) -> dict[str, Any]:
    """Return the entries of a saved model's configuration that name its base.

    ``base`` is a name that means the same on every machine: ``poolwise/nano``, a hub commit, or the name of a folder or
    file without its path. ``base_places`` says where a folder or file was, relative to the model and in full: loading
    looks there, and accepts only a base with the recorded fingerprint.

    Args:
        base: as ``pinned_base`` returns it.
        folder: where the model will be.
        name: what the model that this one was loaded from calls its base; None derives it.
    """
    if not _is_place(base):
        return {"base": base}
    place = Path(base)
    if name is None:
        snapshot = _SNAPSHOT.fullmatch(place.as_posix())
        name = f"{snapshot[1]}/{snapshot[2]}@{snapshot[3]}" if snapshot else place.name
    return {"base": name, "base_places": [os.path.relpath(place, folder.resolve()), str(place)]}


def _is_place(base: str) -> bool:
    return not is_built_in(base) and Path(base).is_absolute()


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved model's configuration without the paths of the machine that saved it."""
    return {key: value for key, value in config.items() if key not in _LOCAL}


def find_base(config: Mapping[str, Any], folder: Path, given: str | None = None) -> str:
    """Return the base of the model in ``folder``: its name or path, with the recorded fingerprint.

    Looked for in the model itself, where it was when the model was saved (relative to the model, then in full), and by
    its name: on the hub, or among the bases of poolwise.

    Args:
        config: the model's configuration.
        given: where the user says the base is.
    Raises: ModelError if it is in none of these places, or differs from the one the model was trained on.
    """
    if config["method"] == "full":
        return given or str(config["base"])
    wanted, seen, differs = config["base_fingerprint"], [], False
    for place, is_there in [(given, True)] if given else _places(config, folder):
        if not is_there:
            seen.append(f"{place} does not exist")
            continue
        try:
            place = pinned_base(place) if given else place  # a relative path must not be recorded
            found = base_fingerprint(place)
        except ModelError as error:
            seen.append(error.got)
            continue
        if found == wanted:
            return place
        differs = True
        seen.append(f"base {place!r} has fingerprint {found}")
    raise ModelError(
        f"the base of {folder} {'differs: it was trained on another base' if differs else 'is not here'} "
        f"({'; '.join(seen) or 'it was saved without it'})",
        f"wanted {config['base']} with fingerprint {wanted}{_was_adapted(config)}",
        "say where it is: poolwise.load_model(path, base=...), and save that model so that every command finds it; or, "
        'where the base is, save the model with it: model.save(path, base="include")',
    )


def _was_adapted(config: Mapping[str, Any]) -> str:
    """Return a hint for models whose base a study's adaptation wrote, which only that study has."""
    place = Path(config.get("base_beside") or (config.get("base_places") or [""])[0])
    return " (a study's adapted base: move a study as a whole, adapted/ and runs/)" * ("adapted" in place.parts)


def _places(config: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield where the base may be, and whether anything is there."""
    name = str(config["base"])
    if included := config.get("base_included"):
        inside = folder / INCLUDED_BASE
        yield str(inside if included is True else inside / Path(str(included)).name), True
        return
    recorded = [config.get("base_beside"), *(config.get("base_places") or [])]
    places = [os.path.normpath(folder.resolve() / str(place)) for place in recorded if place]
    yield from ((place, Path(place).exists()) for place in dict.fromkeys(places))
    # A folder's or file's own name says nothing here, but old models have its full path as the name.
    if is_built_in(name) or is_hub_id(name.partition(":")[0]) or Path(name).is_absolute():
        yield name, True


def base_files(base: str) -> dict[str, Path]:
    """Return the files of a base, by their path in a model that includes it.

    A GGUF file stays one file: it is a fifth of the size of its dequantised folder and has the recorded hash. Of a
    folder, the files that its fingerprint covers, and its licence.

    Raises: ModelError as ``locate_base``.
    """
    if (source := find_gguf(base)) is not None:
        return {f"{INCLUDED_BASE}/{source.file}": source.fetch()}
    found = locate_base(base, with_weights=True)
    files = [
        path
        for path in sorted(found.iterdir())
        if path.is_file() and (path.suffix in FINGERPRINTED or _ALONGSIDE.fullmatch(path.name))
    ]
    return {f"{INCLUDED_BASE}/{path.name}": path for path in files}


def included_record(base: str) -> dict[str, Any]:
    """Return the entry of a configuration that says that the base is in the model: True, or a GGUF file's name."""
    source = find_gguf(base) if is_gguf_name(base) else None
    return {"base_included": True if source is None else source.file}


def include_base(folder: Path) -> None:
    """Copy the base of the model in ``folder`` into it, whole or not at all; nothing if it is there already.

    The base's own files are copied, not merged with the adapter: embeddings stay the same bit for bit, the fingerprint
    still checks the base, and the model can be trained further.

    Raises: ModelError as ``find_base``.
    """
    config = read_config(folder / CONFIG, {"base", "method"})
    if config.get("base_included") or config["method"] == "full":  # a fully trained model has all its weights
        return
    base = find_base(config, folder)
    partial, target = folder / f".{INCLUDED_BASE}{PARTIAL}", folder / INCLUDED_BASE
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        for name, path in base_files(base).items():
            shutil.copyfile(path, partial / Path(name).name)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    write_config(folder, without_places(config) | included_record(base))


def leave_places_out(folder: Path) -> None:
    """Remove the paths of this machine from the configuration of the model in ``folder``."""
    write_config(folder, without_places(read_config(folder / CONFIG, {"base"})))


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write a saved model's configuration, whole or not at all."""
    write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True))


def name_base(folder: Path, base: str, final: Path, name: str | None = None) -> None:
    """Name a base in the configuration of the model in ``folder``, which will be at ``final``."""
    add_settings(folder / CONFIG, base_record(base, final, name))
