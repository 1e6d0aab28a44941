"""Overrides ``key.key=value`` of a recipe from the command line: how they are parsed and applied."""

from __future__ import annotations

import contextlib
import types
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from poolwise.errors import ConfigError
from poolwise.storage.yaml_text import parse_value


def parse_override(text: str, kind: type[BaseModel]) -> tuple[list[str], Any]:
    """Return the key path and the value of ``key.key=value``.

    If the key holds a text, the value is everything after the ``=``, unchanged: prompts end in a colon and a space,
    which YAML would not read as text. (``null`` is null where that is allowed.) Otherwise the value is YAML, and a
    single value for a key that holds a list becomes a list of one.

    Args:
        kind: the model at the start of the key path.
    Raises: ConfigError where there is no ``=`` or no key, or the value is not YAML.
    """
    key, sign, raw = text.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"cannot read override {text!r}", "wanted key=value, such as train.steps=50")
    keys = key.strip().split(".")
    options = _options_at(kind, keys)
    if str in options and set(options) <= {str, types.NoneType}:
        return keys, None if raw == "null" and types.NoneType in options else raw
    value = _from_yaml(text, raw)
    if any(get_origin(option) is list for option in options) and isinstance(value, str | int | float):
        value = [value]
    return keys, value


def apply_override(tree: dict[str, Any], text: str, kind: type[BaseModel]) -> None:
    """Set one key of a mapping from which a ``kind`` will be built.

    Raises: ConfigError as ``parse_override``, and where a key on the path does not hold a mapping.
    """
    set_key(tree, *parse_override(text, kind))


def set_key(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set one key in nested mappings. Raises: ConfigError where a key on the path does not hold a mapping."""
    here: Any = tree
    for key in keys[:-1]:
        if not isinstance(here.setdefault(key, {}), dict):
            raise ConfigError(f"cannot set {'.'.join(keys)!r}: {key!r} is not a mapping")
        here = here[key]
    here[keys[-1]] = value


def _from_yaml(text: str, raw: str) -> Any:
    try:
        value = parse_value(raw)
    except ConfigError as error:
        raise ConfigError(
            f"cannot read override {text!r}: {error}",
            "wanted key=value, such as train.steps=50 or seeds=[0,1]",
            "in a shell, put quotes around it",
        ) from error
    if isinstance(value, str):
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 2e-5 as text
            value = float(value)
    return value


def _options_at(kind: Any, keys: list[str]) -> list[Any]:
    """Return the types that a value at this key path may have; empty if there is no such path."""
    options = [kind]
    for key in keys:
        options = [part for option in options for part in _below(option, key)]
    return options


def _below(kind: Any, key: str) -> list[Any]:
    if get_origin(kind) is dict:
        return _parts(get_args(kind)[1])
    if isinstance(kind, type) and issubclass(kind, BaseModel) and key in kind.model_fields:
        return _parts(kind.model_fields[key].annotation)
    return []


def _parts(annotation: Any) -> list[Any]:
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return list(get_args(annotation)) if is_union else [annotation]
