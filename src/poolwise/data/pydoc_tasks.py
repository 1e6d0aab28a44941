"""Evaluation tasks made of standard-library documentation: retrieval, classification and clustering."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from poolwise.data.pydoc_areas import AREAS
from poolwise.data.pydoc_read import Entry
from poolwise.data.pydoc_text import NearDuplicates, order, split_name, words

Row = dict[str, str]
Labelled = tuple[Entry, str, str]

MAX_QUERIES = 300
MAX_DOCUMENTS = 600
SAMPLES_PER_LABEL = 16


@dataclass(frozen=True)
class BuiltTask:
    """One task: its rows by file name (without ending) and what stands in ``task.yaml``."""

    category: str
    name: str
    files: dict[str, list[Row]]
    settings: dict[str, str | int] = field(default_factory=dict)


def distinct(entries: Iterable[Entry], text: Callable[[Entry], str]) -> list[Entry]:
    """Return the entries, as if shuffled, whose text is not nearly the same as that of one before."""
    seen, kept = NearDuplicates(), []
    for entry in sorted(entries, key=lambda entry: order(entry.key)):
        if text(entry) not in seen:
            seen.add(text(entry))
            kept.append(entry)
    return kept


def _num_words(text: str) -> int:
    return len(words(text))


def unnamed_body(entry: Entry) -> str:
    """Return parameters and body: what is left of the documentation without name and summary."""
    return f"({entry.signature}) {entry.body}" if entry.signature else entry.body


def spoken_name(entry: Entry) -> str:
    """Return module, qualified name and parameters as plain words."""
    parameters = [part.split("=")[0].split(":")[0].strip("* ") for part in entry.signature.split(",")]
    name = split_name(f"{entry.module.split('.')[-1]}.{entry.name}")
    given = " ".join(split_name(part) for part in parameters if part.replace("_", "").isalnum())
    return f"{name}, given {given}" if given and entry.kind == "function" else name


def _retrieval(name: str, pairs: Sequence[tuple[Entry, str, str]], extra: Sequence[tuple[Entry, str]]) -> BuiltTask:
    """Return a task of (entry, query, document); ``extra`` documents answer no query."""
    documents = [(entry, text) for entry, _, text in pairs] + list(extra)
    ids = {entry.key: f"d{i}" for i, (entry, _) in enumerate(sorted(documents, key=lambda pair: pair[0].key))}
    corpus = [{"_id": ids[entry.key], "title": "", "text": text} for entry, text in documents]
    queries = [{"_id": f"q{i}", "text": query} for i, (_, query, _) in enumerate(pairs)]
    qrels = [{"query-id": f"q{i}", "corpus-id": ids[entry.key], "score": "1"} for i, (entry, _, _) in enumerate(pairs)]
    corpus.sort(key=lambda row: int(row["_id"][1:]))
    return BuiltTask("retrieval", name, {"corpus": corpus, "queries": queries, "qrels": qrels})


def summary_to_body(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: a summary line finds the rest of its documentation, without the object's name."""
    usable = [entry for entry in entries if _num_words(entry.body) >= 8 and _num_words(entry.summary) >= 4]
    usable = distinct(distinct(usable, lambda entry: entry.body), lambda entry: entry.summary)[:MAX_DOCUMENTS]
    pairs = [(entry, entry.summary, unnamed_body(entry)) for entry in usable[:MAX_QUERIES]]
    return _retrieval("pydoc-summary-body", pairs, [(entry, unnamed_body(entry)) for entry in usable[MAX_QUERIES:]])


def name_to_description(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: an object's name and parameters, as words, find its summary line."""
    usable = [entry for entry in entries if entry.name and _num_words(entry.summary) >= 5]
    usable = [entry for entry in usable if not entry.name.split(".")[-1].startswith("__")]
    usable = distinct(usable, lambda entry: entry.summary)[:MAX_DOCUMENTS]
    pairs = [(entry, spoken_name(entry), entry.summary) for entry in usable[:MAX_QUERIES]]
    return _retrieval("pydoc-name-description", pairs, [(entry, entry.summary) for entry in usable[MAX_QUERIES:]])


def _balanced(rows: Iterable[Labelled], per_label: int, smallest: int, most_of_one: int) -> list[Labelled]:
    """Return at most ``per_label`` rows of each label, at most ``most_of_one`` of them of one family.

    Labels with fewer than ``smallest`` rows are left out.
    """
    by_label: defaultdict[str, list[Labelled]] = defaultdict(list)
    families: Counter[tuple[str, str]] = Counter()
    for row in sorted(rows, key=lambda row: order(row[0].key)):
        label, family = row[2], row[0].family
        if len(by_label[label]) < per_label and families[label, family] < most_of_one:
            by_label[label].append(row)
            families[label, family] += 1
    kept = [row for rows in by_label.values() if len(rows) >= smallest for row in rows]
    return sorted(kept, key=lambda row: order("mixed", row[0].key))


def _rows(labelled: Iterable[Labelled]) -> list[Row]:
    return [{"text": text, "label": label} for _, text, label in labelled]


def _classification(name: str, labelled: Sequence[Labelled], num_train: int) -> BuiltTask:
    """Return a task whose train split has ``num_train`` rows of every label and whose test split the others."""
    train: list[Labelled] = []
    test: list[Labelled] = []
    taken: Counter[str] = Counter()
    for row in labelled:
        (train if taken[row[2]] < num_train else test).append(row)
        taken[row[2]] += 1
    settings: dict[str, str | int] = {"samples_per_label": SAMPLES_PER_LABEL}
    return BuiltTask("classification", name, {"train": _rows(train), "test": _rows(test)}, settings)


def area_of_text(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: which subject area of the library a description belongs to."""
    usable = [entry for entry in entries if entry.family in AREAS and entry.name and _num_words(entry.full) >= 6]
    rows = [(entry, entry.full[:400], AREAS[entry.family]) for entry in distinct(usable, lambda entry: entry.full)]
    return _classification("pydoc-area", _balanced(rows, 90, 60, 30), 32)


_KIND_WORDS = re.compile(
    r"\b(modul|class|exception|error|function|method|object|raise|return|subclass|instance|warning)\w*\b", re.IGNORECASE
)


def kind_of_object(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: does a text describe a class, an exception, a function or a module?

    The words that say so outright are taken out of the texts.
    """
    rows = []
    for entry in distinct(entries, lambda entry: entry.summary):
        text = " ".join(_KIND_WORDS.sub("", entry.summary).split())
        if _num_words(text) >= 3:
            rows.append((entry, text, entry.kind))
    return _classification("pydoc-kind", _balanced(rows, 120, 60, 20), 40)


def clusters_by_area(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: summary lines grouped by subject area."""
    usable = [entry for entry in entries if entry.family in AREAS and _num_words(entry.summary) >= 5]
    rows = [(entry, entry.summary, AREAS[entry.family]) for entry in distinct(usable, lambda entry: entry.summary)]
    return BuiltTask("clustering", "pydoc-areas", {"test": _rows(_balanced(rows, 60, 40, 20))})


def clusters_by_module(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: whole descriptions of functions and classes grouped by module family."""
    usable = [entry for entry in entries if entry.name and _num_words(entry.full) >= 12]
    rows = [(entry, entry.full, entry.family) for entry in distinct(usable, lambda entry: entry.full)]
    return BuiltTask("clustering", "pydoc-modules", {"test": _rows(_balanced(rows, 30, 20, 30))})


BUILDERS = (
    summary_to_body,
    name_to_description,
    area_of_text,
    kind_of_object,
    clusters_by_area,
    clusters_by_module,
)


def build_tasks(entries: Sequence[Entry]) -> list[BuiltTask]:
    """Return all tasks, made of the entries of evaluation modules."""
    return [build(entries) for build in BUILDERS]
