"""Code that comes with a model: named in an error, never run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import CONFIG_MAPPING

from poolwise.errors import ModelError
from poolwise.hub import is_hub_id, snapshot
from poolwise.models.saved_folder import MODULES
from poolwise.storage.json_text import load_json

logger = logging.getLogger(__name__)
_CONFIGS = ("config.json", "tokenizer_config.json")
_LIBRARY = "sentence_transformers."


def refuse_custom_code(name: str) -> None:
    """Raise ModelError if an embedding model cannot be loaded without running code that comes with it.

    If a library has a class for its architecture, that class is used instead, and a warning says so: the model may have
    been meant to compute something else, such as bidirectional attention.

    Args:
        name: a folder or a hub id.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if not is_hub_id(name):
            return
        try:
            folder = snapshot(name, [MODULES, *_CONFIGS, *(f"*/{file}" for file in _CONFIGS)])
        except (OSError, ValueError):  # loading the model reports the error
            return
    found = named_code(folder)
    if needed := [code for code in found if code.is_needed]:
        raise ModelError(
            f"{name} would run code that comes with it: {'; '.join(map(str, needed))}",
            "wanted a model of classes that the libraries have; poolwise runs no code of a model",
            "read that code; if you trust it, load it yourself with SentenceTransformer(..., trust_remote_code=True), "
            "and pass the loaded model to poolwise.evaluate, poolwise.doctor or poolwise.encode",
        )
    if found:
        logger.warning(
            "%s comes with code of its own, which is not run: %s. The library's class of the same architecture is used "
            "instead and may compute other embeddings; check them with poolwise doctor",
            name,
            "; ".join(map(str, found)),
        )


@dataclass(frozen=True)
class NamedCode:
    """Python code that a file of a model's folder names.

    Args:
        names: the classes. file: relative to the folder.
        is_needed: the model cannot be loaded without it; else a library has a class of its own for the architecture.
    """

    names: tuple[str, ...]
    file: str
    is_needed: bool

    def __str__(self) -> str:
        what = "names the module" if self.file == MODULES else "names"
        start = self.file if self.file == MODULES else f"auto_map of {self.file}"
        return f"{start} {what} {', '.join(self.names)}"


def named_code(folder: Path) -> list[NamedCode]:
    """Return the code that ``modules.json`` and the configurations in a folder name. Nothing is imported."""
    return [*_foreign_modules(folder), *_mapped_classes(folder)]


def _foreign_modules(folder: Path) -> Iterator[NamedCode]:
    """Yield what ``modules.json`` would import from outside sentence-transformers."""
    listed = _content(folder / MODULES)
    for module in listed if isinstance(listed, list) else []:
        kind = str(module.get("type", "")) if isinstance(module, dict) else ""
        if kind and not kind.startswith(_LIBRARY):
            yield NamedCode((kind,), MODULES, True)


def _mapped_classes(folder: Path) -> Iterator[NamedCode]:
    """Yield the classes that an ``auto_map`` names."""
    for path in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]):
        found = _content(path) if path.name in _CONFIGS else None
        stored = found if isinstance(found, dict) else {}
        mapped = stored.get("auto_map")
        if isinstance(mapped, dict) and (names := tuple(dict.fromkeys(_class_names(mapped)))):
            yield NamedCode(names, str(path.relative_to(folder)), not _is_known(path.name, stored))


def _is_known(file: str, stored: dict[str, Any]) -> bool:
    """Return whether transformers has a class of its own for what a configuration or a tokenizer names."""
    if file == "config.json":
        return stored.get("model_type") in CONFIG_MAPPING
    return hasattr(transformers, str(stored.get("tokenizer_class", "PreTrainedTokenizerFast")))


def _class_names(mapped: dict[str, Any]) -> Iterator[str]:
    for value in mapped.values():
        for name in value if isinstance(value, list) else [value]:
            if name:
                yield str(name)


def _content(path: Path) -> Any:
    try:
        return load_json(path)
    except (OSError, ValueError):  # loading the model reports the error
        return None
