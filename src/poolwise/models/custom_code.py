"""Code that comes with a model: named in an error, never run."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING

from poolwise.errors import ModelError
from poolwise.hub import is_hub_id, snapshot
from poolwise.models.saved_folder import MODULES

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
    modules, classes = list(_foreign_modules(folder)), list(_mapped_classes(folder))
    needed = [*modules, *(text for text, is_needed in classes if is_needed)]
    if needed:
        raise ModelError(
            f"{name} would run code that comes with it: {'; '.join(needed)}",
            "wanted a model of classes that the libraries have; poolwise runs no code of a model",
            "read that code; if you trust it, load it yourself with SentenceTransformer(..., trust_remote_code=True), "
            "and pass the loaded model to poolwise.evaluate, poolwise.doctor or poolwise.encode",
        )
    if classes:
        logger.warning(
            "%s comes with code of its own, which is not run: %s. The library's class of the same architecture is used "
            "instead and may compute other embeddings; check them with poolwise doctor",
            name,
            "; ".join(text for text, _ in classes),
        )


def _foreign_modules(folder: Path) -> Iterator[str]:
    """Yield what ``modules.json`` would import from outside sentence-transformers."""
    listed = _content(folder / MODULES)
    for module in listed if isinstance(listed, list) else []:
        kind = str(module.get("type", "")) if isinstance(module, dict) else ""
        if kind and not kind.startswith(_LIBRARY):
            file = f"{kind.partition('.')[0]}.py"
            where = f" in its file {file}" if (folder / file).is_file() else ""
            yield f"{MODULES} names the module {kind}{where}"


def _mapped_classes(folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield the classes that an ``auto_map`` names, and whether no library has the architecture."""
    for path in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]):
        found = _content(path) if path.name in _CONFIGS else None
        mapped = found.get("auto_map") if isinstance(found, dict) else None
        if isinstance(mapped, dict) and mapped:
            named = ", ".join(dict.fromkeys(_class_names(mapped)))
            is_known = path.name != "config.json" or str(found.get("model_type")) in CONFIG_MAPPING  # type: ignore[union-attr]
            yield f"auto_map of {path.relative_to(folder)} names {named}", not is_known


def _class_names(mapped: dict[str, Any]) -> Iterator[str]:
    for value in mapped.values():
        for name in value if isinstance(value, list) else [value]:
            if name:
                yield str(name)


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # loading the model reports the error
        return None
