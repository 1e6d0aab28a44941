"""The bases that a user has without naming a folder or the hub: built in, or in the cache."""

from __future__ import annotations

from dataclasses import dataclass

from poolwise.base_sources.cached import cached_items, dequantised_folder, folder_bytes, load_origin
from poolwise.base_sources.catalogue import EMBEDDED, PACKAGED, PackagedBase
from poolwise.storage.json_text import load_json

_NANO_LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class ListedBase:
    """One base.

    Args:
        name: as a recipe names it, or the name of the GGUF file for what is in the cache only.
        num_bytes: on the disk, or to be fetched.
        is_verified: whether poolwise's attentions were verified on the architecture.
        state: where it is, in words.
    """

    name: str
    kind: str
    file: str
    quantisation: str
    num_bytes: int
    licence: str
    architecture: str
    num_layers: int
    hidden_size: int
    is_verified: bool
    is_ready: bool
    state: str


def list_bases() -> list[ListedBase]:
    """Return the built-in bases, then the dequantised GGUF files in the cache.

    Raises: ModelError where the record of a cached base cannot be read.
    """
    return [*_embedded(), *map(_packaged, PACKAGED.values()), *_dequantised()]


def _embedded() -> list[ListedBase]:
    found = []
    for name, folder in EMBEDDED.items():
        config = load_json(folder / "config.json")
        found.append(
            ListedBase(
                name=name,
                kind="embedded",
                file="",
                quantisation="",
                num_bytes=folder_bytes(folder),
                licence=_NANO_LICENCE,
                architecture=config["model_type"],
                num_layers=config["num_hidden_layers"],
                hidden_size=config["hidden_size"],
                is_verified=True,
                is_ready=True,
                state="ships with poolwise",
            )
        )
    return found


def _packaged(base: PackagedBase) -> ListedBase:
    folder = dequantised_folder(base.file_sha256)
    is_ready = folder.is_dir()
    return ListedBase(
        name=base.name,
        kind="package",
        file=base.file_name,
        quantisation=base.quantisation,
        num_bytes=folder_bytes(folder) if is_ready else base.wheel_bytes,
        licence=base.licence,
        architecture=base.architecture,
        num_layers=base.num_layers,
        hidden_size=base.hidden_size,
        is_verified=True,
        is_ready=is_ready,
        state=f"cached as {folder.name}" if is_ready else f"fetched from {base.requirement} when first used",
    )


def _dequantised() -> list[ListedBase]:
    own = {dequantised_folder(base.file_sha256).name for base in PACKAGED.values()}
    found = []
    for item in cached_items():
        if item.kind == "dequantised" and item.name not in own:
            origin = load_origin(item.path)
            found.append(
                ListedBase(
                    name=origin.file,
                    kind="gguf",
                    file=origin.file,
                    quantisation=origin.quantisation,
                    num_bytes=item.num_bytes,
                    licence=origin.licence,
                    architecture=origin.architecture,
                    num_layers=origin.num_layers,
                    hidden_size=origin.hidden_size,
                    is_verified=origin.is_verified,
                    is_ready=True,
                    state=f"cached as {item.name}",
                )
            )
    return found
