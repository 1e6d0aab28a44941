"""Reads YAML strictly: one clear error for anything that cannot be read."""

from __future__ import annotations

import errno
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from poolwise.errors import ConfigError

# ValueError: a date such as 2020-99-99. RecursionError: deeply nested brackets.
_UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)


MOST_CHARACTERS = 1 << 18
"""Of a text that is read: PyYAML takes 2 s and 60 MiB for it, and a device or a wrong file has no end."""
MOST_VALUES = 100_000
"""Values of the largest tree that is read. A few lines of aliases of aliases stand for billions."""
_TOO_LONG = f"it has more than {MOST_CHARACTERS:,} characters"


def _load(text: str, loader: type[yaml.SafeLoader]) -> Any:
    """Return the value of a text. Raises: yaml.YAMLError, also where it is too long or stands for too many values."""
    if len(text) > MOST_CHARACTERS:
        raise yaml.YAMLError(_TOO_LONG)
    reader = loader(text)
    try:
        node = reader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST_VALUES:
            raise yaml.YAMLError(f"it has more than {MOST_VALUES:,} values, each alias counted as what it stands for")
        try:
            return reader.construct_document(node)
        except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
            # What PyYAML raises for values that do not fit their tag, such as `!!bool x` and `!!map [a]`.
            raise yaml.YAMLError(f"a value does not fit its tag ({type(error).__name__})") from error
    finally:
        reader.dispose()


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for, each alias counted as what it stands for."""
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # met again inside itself: it has no end
        items = [] if isinstance(node, yaml.ScalarNode) else node.value
        parts = [part for item in items for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


class _UniqueKeyLoader(yaml.SafeLoader):
    """A YAML loader that refuses a repeated key; PyYAML silently takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise ConfigError(f"key {key!r} in line {line} is not a name")
            if key in seen:
                raise ConfigError(f"key {key!r} is given twice, again in line {line}")
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_mapping(path: Path, what: str, wanted: str) -> dict[Any, Any]:
    """Return the mapping in a YAML file; an empty mapping if the file is empty.

    Args:
        what: the kind of file, such as "recipe", for the message.
        wanted: the keys of such a file, for the message.
    Raises: ConfigError where the file cannot be read, is not YAML, is not a mapping, or repeats a key.
    """
    try:
        text = _read(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {what} {path}: {reason}", hint="give the path of a YAML file") from error
    try:
        tree = _load(text, _UniqueKeyLoader)
    except ConfigError as error:
        raise ConfigError(f"{what} {path}: {error}") from error
    except _UNREADABLE as error:
        raise ConfigError(f"{what} {path} is not YAML: {_reason(error)}") from error
    if not isinstance(tree, dict | None):
        raise ConfigError(f"{what} {path} holds {type(tree).__name__}", f"wanted a mapping with {wanted}")
    return tree or {}


def _read(path: Path) -> str:
    with path.open(encoding="utf-8-sig") as file:
        text = file.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise OSError(errno.EFBIG, _TOO_LONG)
    return text


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    return " ".join(str(error).split()) or type(error).__name__


def parse_value(text: str) -> Any:
    """Return the value of one piece of YAML; an empty text if it is blank.

    Raises: ConfigError where it is not YAML.
    """
    try:
        return _load(text, yaml.SafeLoader) if text.strip() else ""
    except _UNREADABLE as error:
        raise ConfigError(f"{text!r} is not a YAML value") from error
