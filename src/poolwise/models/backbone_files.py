"""The configuration file of a saved backbone, and the options and versions it is loaded with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from poolwise import __version__
from poolwise.base_dtypes import HeldDtype
from poolwise.errors import ConfigError, ModelError
from poolwise.records import first_problem
from poolwise.storage.json_text import load_json


class _Types(BaseModel):
    """The types of a configuration's values; which keys it must have depends on who reads it."""

    model_config = ConfigDict(strict=True)

    design: str = ""
    base: str = ""
    method: Literal["lora", "frozen", "full"] = "lora"
    max_tokens: int = 0
    padding_side: Literal["left", "right"] = "right"
    eos_id: int = 0
    base_fingerprint: str | None = None
    base_dtype: HeldDtype = "fp32"
    base_places: list[str] | None = None
    base_beside: str | None = None
    base_included: bool | str | None = None
    ending: list[int] | None = None
    split_special_tokens: bool | None = None
    matryoshka: list[int] = Field(default_factory=list)


def read_config(path: Path, keys: Set[str]) -> dict[str, Any]:
    """Return what a backbone's configuration file holds.

    Raises: ModelError where it cannot be read, lacks one of ``keys`` or has a value of another type.
    """
    try:
        config = load_json(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}", "wanted a folder saved by poolwise") from error
    if missing := sorted(keys - set(config if isinstance(config, dict) else ())):
        raise ModelError(f"{path} lacks {', '.join(missing)}", "wanted what poolwise saves", "save the model again")
    try:
        _Types.model_validate(config)
    except ValidationError as error:
        raise ModelError(
            f"{path} holds another kind of value: {first_problem(error)}",
            "wanted what poolwise saves",
            "save the model again",
        ) from error
    return dict(config)


_HUB_OPTIONS = frozenset({"token", "cache_folder", "revision", "local_files_only", "trust_remote_code"})
"""Options for finding the folder, which is already on disk here."""


def refuse_options(options: Mapping[str, Any]) -> None:
    """Raise ConfigError for sentence-transformers options that poolwise modules do not support."""
    asked = {name: value for name, value in options.items() if value and name not in _HUB_OPTIONS}
    if asked.pop("backend", "torch") != "torch":
        raise ConfigError(f"backend={options['backend']!r} is not supported", "wanted torch", "leave backend out")
    if asked:
        raise ConfigError(
            f"{', '.join(sorted(asked))}: not supported by poolwise models",
            "wanted a model loaded as it was saved",
            "use poolwise.load_model, which takes device, precision, max_tokens, truncate_dim and base",
        )


_WITHOUT_POOLWISE = (
    "This model has a pooling or an attention of poolwise. Install it with: pip install poolwise; then load the model "
    "with: import poolwise; model = poolwise.load_model(the same name or path)"
)


def require_versions(path: Path) -> None:
    """Require poolwise, and library versions that do not silently encode with causal attention.

    sentence-transformers writes ``path`` before it saves the first module. It checks ``requirements`` before it looks
    at a module, so without poolwise the reason below is what the user reads.
    """
    if not path.is_file():
        return
    requirements = {
        "poolwise": {"specifier": f">={__version__}", "reason": _WITHOUT_POOLWISE},
        "transformers": {"specifier": ">=5.2", "reason": "older versions ignore config.is_causal"},
        "sentence-transformers": {"specifier": ">=6.2", "reason": "older versions do not run the attention probe"},
    }
    add_settings(path, {"requirements": requirements})


def add_settings(path: Path, more: dict[str, Any]) -> None:
    path.write_text(json.dumps(load_json(path) | more, indent=2, sort_keys=True))
