"""The folder of a saved model: found on disk, in a run, or fetched from the hub; and which files belong to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from poolwise.base_sources.catalogue import is_built_in
from poolwise.cards import FACTS
from poolwise.errors import ModelError
from poolwise.hub import hub_reason, is_hub_id, snapshot
from poolwise.records import require_finished
from poolwise.storage.json_text import load_json

CONFIG = "poolwise.json"
MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
INCLUDED_BASE = "base"
_SMALL = [CONFIG, MODULES, SETTINGS, FACTS, "adapter_config.json", "adapter_model.safetensors"]
_WHOLE_BASE = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
_PARTS = re.compile(
    r"(poolwise|modules|config_sentence_transformers|adapter_config|config|generation_config|tokenizer"
    r"|tokenizer_config|special_tokens_map|added_tokens|vocab|checksums|model\.safetensors\.index)\.json"
    r"|card\.yaml|README\.md|merges\.txt|vocab\.txt|\w+\.model|chat_template\.jinja"
    r"|(adapter_model|model|model-\d+-of-\d+)\.safetensors|1_\w+|2_Normalize|base"
)


def is_poolwise_model(path: str | Path) -> bool:
    """Return whether a folder holds a model saved by poolwise."""
    return (Path(path) / CONFIG).is_file()


def is_model_part(name: str) -> bool:
    """Return whether a file or folder of this name, in the folder of a saved model, was written by ``model.save``."""
    return _PARTS.fullmatch(name) is not None


def own_folder(name: str | Path) -> Path | None:
    """Return the folder of a poolwise model: ``name``, its ``model/`` (of a run), a hub snapshot; None for others."""
    path = Path(name).expanduser()
    if found := _on_disk(path):
        return found
    if path.exists() or is_built_in(str(name)) or not is_hub_id(str(name)):
        return None
    try:
        return _fetched(str(name))
    except (OSError, ValueError):  # loading the model reports the error
        return None


def find_model(name: str | Path, *, with_base: bool = True) -> Path:
    """Return the folder of a poolwise model, as ``own_folder`` does.

    Args:
        with_base: of a model of the hub, fetch the base that is included in it too.
    Raises: ModelError where there is none, with what was looked for.
    """
    path = Path(name).expanduser()
    require_finished(path)
    if found := _on_disk(path):
        return found
    if path.exists() or is_built_in(str(name)) or not is_hub_id(str(name)):
        raise no_model(path)
    try:
        fetched = _fetched(str(name), with_base=with_base)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no model {str(name)!r}: there is no such folder, and on the hub: {hub_reason(error)}",
            f"wanted a folder with {CONFIG} or model/{CONFIG}, or the hub id of a poolwise model",
            "check the name; without a network, fetch the repository elsewhere and give its folder",
        ) from error
    if fetched is None:
        raise ModelError(
            f"{name} of the hub has no {CONFIG}",
            "wanted a model that poolwise saved",
            "load other models with SentenceTransformer(...)",
        )
    return fetched


def local_folder(name: str, **options: Any) -> Path:
    """Return the folder of a model that sentence-transformers loads by name, with its options for the hub."""
    path = Path(name)
    if path.is_dir() or not is_hub_id(name):
        return path
    revision, token = options.get("revision"), options.get("token")
    named = f"{name}@{revision}" if revision else name
    try:
        return _fetched(named, token=token, cache_dir=options.get("cache_folder")) or path
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot fetch {named}: {hub_reason(error)}", "wanted a poolwise model of the hub") from error


def _on_disk(path: Path) -> Path | None:
    return next((folder for folder in (path / "model", path) if is_poolwise_model(folder)), None)


def _fetched(name: str, *, with_base: bool = True, **access: Any) -> Path | None:
    """Return the hub snapshot of a poolwise model with the files that loading it reads; None for another model."""
    found = snapshot(name, [CONFIG], **access)
    if not is_poolwise_model(found):
        return None
    config = _content(found / CONFIG)
    pinned = f"{name.partition('@')[0]}@{found.name}"  # all files of one commit, even if another is pushed meanwhile
    folders = ["1_*", *([f"{INCLUDED_BASE}/*"] if with_base and config.get("base_included") else [])]
    if config.get("method") == "full":
        snapshot(pinned, [*_SMALL, *_WHOLE_BASE], ignore="*/*", **access)
        return snapshot(pinned, folders, **access)
    return snapshot(pinned, [*_SMALL, *folders], **access)


def _content(path: Path) -> dict[str, Any]:
    try:
        found = load_json(path)
    except (OSError, ValueError):  # loading the model reports the error
        return {}
    return found if isinstance(found, dict) else {}


def no_model(folder: Path) -> ModelError:
    """Return the error for a path at which there is no poolwise model."""
    looked = f"looked for {CONFIG} and model/{CONFIG}"
    if (folder / "plan.json").is_file():
        return ModelError(f"{folder} is a study", "wanted one of its runs", f"give a folder inside {folder / 'runs'}")
    if folder.is_dir():
        return ModelError(
            f"{folder} has no {CONFIG} ({looked})",
            "wanted a folder saved by poolwise, or the folder of a run",
            "load other models with SentenceTransformer(...)",
        )
    return ModelError(
        f"no model {str(folder)!r} ({looked})",
        "wanted a folder saved by poolwise, the folder of a run, or the hub id of a poolwise model",
        "check the path",
    )
