"""Classification and clustering tasks made from documentation: area, kind, effect, module."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from poolwise.embedded.pydoc_areas import AREAS
from poolwise.embedded.pydoc_read import Entry
from poolwise.embedded.pydoc_rows import BuiltTask, Row, distinct, is_special, num_words, spoken_name
from poolwise.embedded.pydoc_text import order
from poolwise.embedded.pydoc_verbs import EFFECTS, VERBS

SAMPLES_PER_LABEL = 16
_LONGEST_TEXT = 400

Labelled = tuple[Entry, str, str]
"""An entry, the text made from it, and its label."""


def balanced(rows: Iterable[Labelled], per_label: int, smallest: int, most_of_family: int) -> list[Labelled]:
    """Return at most ``per_label`` rows of each label, in pseudo-random order.

    Args:
        smallest: labels with fewer rows are left out.
        most_of_family: the most rows of one module family per label, so that a label is more than one module.
    """
    by_label: defaultdict[str, list[Labelled]] = defaultdict(list)
    families: Counter[tuple[str, str]] = Counter()
    for row in sorted(rows, key=lambda row: order(row[0].key)):
        label, family = row[2], row[0].family
        if len(by_label[label]) < per_label and families[label, family] < most_of_family:
            by_label[label].append(row)
            families[label, family] += 1
    kept = [row for group in by_label.values() if len(group) >= smallest for row in group]
    return sorted(kept, key=lambda row: order("mixed", row[0].key))


def _rows(labelled: Iterable[Labelled]) -> list[Row]:
    return [{"text": text, "label": label} for _, text, label in labelled]


def _classification(name: str, labelled: Sequence[Labelled], num_train: int) -> BuiltTask:
    """Return a task with ``num_train`` rows of every label in the train split and the other rows in the test split."""
    train: list[Labelled] = []
    test: list[Labelled] = []
    taken: Counter[str] = Counter()
    for row in labelled:
        (train if taken[row[2]] < num_train else test).append(row)
        taken[row[2]] += 1
    files = {"train": _rows(train), "test": _rows(test)}
    return BuiltTask("classification", name, files, {"samples_per_label": SAMPLES_PER_LABEL})


def area_of_text(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: which subject area of the library does a description belong to?"""
    usable = [entry for entry in entries if entry.family in AREAS and entry.name and num_words(entry.full) >= 6]
    usable = distinct(usable, lambda entry: entry.full[:_LONGEST_TEXT])
    rows = [(entry, entry.full[:_LONGEST_TEXT], AREAS[entry.family]) for entry in usable]
    return _classification("pydoc-area", balanced(rows, 90, 60, 30), 32)


_KIND_WORDS = re.compile(
    r"\b(modul|class|exception|error|function|method|object|raise|return|subclass|instance|warning)\w*\b", re.IGNORECASE
)


def without_kind_words(summary: str) -> str:
    """Return a summary without the words that name the kind of object."""
    return " ".join(_KIND_WORDS.sub("", summary).split())


def kind_of_object(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: does a summary, without words that name the kind, describe a class, exception, function or
    module?"""
    usable = [entry for entry in entries if num_words(without_kind_words(entry.summary)) >= 3]
    usable = distinct(usable, lambda entry: without_kind_words(entry.summary))
    rows = [(entry, without_kind_words(entry.summary), entry.kind) for entry in usable]
    return _classification("pydoc-kind", balanced(rows, 120, 60, 20), 36)


def effect_of(summary: str) -> tuple[str, str] | None:
    """Return (summary without its leading verb, effect), or None if it does not start with a known verb."""
    first, _, rest = summary.partition(" ")
    verb = VERBS.get(first.lower())
    if verb is None:
        return None
    asked = re.match(r"(true|false|whether)\b\s*(if|when|iff)?\s*", rest, re.IGNORECASE)
    return (rest[asked.end() :], "test") if asked else (rest, EFFECTS[verb])


def effect_of_function(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: what does a function do (give, test, change ...), given its summary without the verb?"""
    found = {entry: effect_of(entry.summary) for entry in entries if entry.kind == "function"}
    told = {entry: pair for entry, pair in found.items() if pair and num_words(pair[0]) >= 3}
    rows = [(entry, *told[entry]) for entry in distinct(told, lambda entry: told[entry][0])]
    return _classification("pydoc-effect", balanced(rows, 110, 60, 25), 32)


def clusters_by_area(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: summary lines grouped by subject area."""
    usable = [entry for entry in entries if entry.family in AREAS and num_words(entry.summary) >= 5]
    rows = [(entry, entry.summary, AREAS[entry.family]) for entry in distinct(usable, lambda entry: entry.summary)]
    return BuiltTask("clustering", "pydoc-areas", {"test": _rows(balanced(rows, 60, 40, 20))})


def clusters_by_module(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: whole descriptions of functions and classes grouped by module family."""
    usable = [entry for entry in entries if entry.name and num_words(entry.full) >= 12]
    rows = [(entry, entry.full, entry.family) for entry in distinct(usable, lambda entry: entry.full)]
    return BuiltTask("clustering", "pydoc-modules", {"test": _rows(balanced(rows, 24, 20, 24))})


def clusters_of_names(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: names and parameters of functions, as words, grouped by module family."""
    functions = [entry for entry in entries if entry.kind == "function" and not is_special(entry)]
    usable = [entry for entry in distinct(functions, spoken_name) if num_words(spoken_name(entry)) >= 3]
    rows = [(entry, spoken_name(entry), entry.family) for entry in usable]
    return BuiltTask("clustering", "pydoc-names", {"test": _rows(balanced(rows, 20, 20, 20))})
