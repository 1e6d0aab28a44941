"""Shared by the embedded tasks and training pairs: rows, selection, and ways to write an entry as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from poolwise.embedded.pydoc_read import Entry
from poolwise.embedded.pydoc_text import NearDuplicates, order, split_name, words

Row = dict[str, str]


@dataclass(frozen=True)
class BuiltTask:
    """One task: its rows by file name (without suffix), and the settings in ``task.yaml`` besides the metric."""

    category: str
    name: str
    files: dict[str, list[Row]]
    settings: dict[str, str | int] = field(default_factory=dict)


def distinct(entries: Iterable[Entry], text: Callable[[Entry], str]) -> list[Entry]:
    """Return the entries in pseudo-random order, without those whose text is nearly the same as an earlier one."""
    seen, kept = NearDuplicates(), []
    for entry in sorted(entries, key=lambda entry: order(entry.key)):
        if text(entry) not in seen:
            seen.add(text(entry))
            kept.append(entry)
    return kept


def num_words(text: str) -> int:
    """Return the number of words in a text."""
    return len(words(text))


def unnamed_body(entry: Entry) -> str:
    """Return parameters and body: the documentation without name and summary."""
    return f"({entry.signature}) {entry.body}" if entry.signature else entry.body


def is_special(entry: Entry) -> bool:
    """Return whether the object's name says nothing about it (``__init__`` and the like, or a module)."""
    return not entry.name or entry.name.split(".")[-1].startswith("__")


def spoken_name(entry: Entry) -> str:
    """Return the qualified name and the parameters as plain words, without the module."""
    parameters = [part.split("=")[0].split(":")[0].strip("* ") for part in entry.signature.split(",")]
    given = " ".join(split_name(part) for part in parameters if part.replace("_", "").isalnum())
    name = split_name(entry.name)
    return f"{name}, given {given}" if given and entry.kind == "function" else name
