"""Retrieval tasks made from documentation: summary to body, name to description, question to class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from poolwise.embedded.pydoc_read import Entry
from poolwise.embedded.pydoc_rows import BuiltTask, distinct, is_special, num_words, spoken_name, unnamed_body
from poolwise.embedded.pydoc_text import split_name
from poolwise.embedded.pydoc_verbs import VERBS

MAX_QUERIES = 300
MAX_DOCUMENTS = 600
_QUERIES_PER_CLASS = 8


def _task(name: str, queries: Sequence[tuple[str, Entry]], documents: dict[str, str]) -> BuiltTask:
    """Return a task from pairs of query and relevant entry, and from document texts by entry key."""
    ids = {key: f"d{i}" for i, key in enumerate(sorted(documents))}
    return BuiltTask(
        "retrieval",
        name,
        {
            "corpus": [{"_id": ids[key], "title": "", "text": documents[key]} for key in sorted(documents)],
            "queries": [{"_id": f"q{i}", "text": query} for i, (query, _) in enumerate(queries)],
            "qrels": [
                {"query-id": f"q{i}", "corpus-id": ids[entry.key], "score": "1"} for i, (_, entry) in enumerate(queries)
            ],
        },
    )


def summary_to_body(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: given a summary line, find the rest of its documentation (without the object's name)."""
    usable = [entry for entry in entries if num_words(entry.body) >= 8 and num_words(entry.summary) >= 4]
    usable = distinct(distinct(usable, lambda entry: entry.body), lambda entry: entry.summary)[:MAX_DOCUMENTS]
    queries = [(entry.summary, entry) for entry in usable[:MAX_QUERIES]]
    return _task("pydoc-summary-body", queries, {entry.key: unnamed_body(entry) for entry in usable})


def name_to_description(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: given an object's module, name and parameters as words, find its summary line."""
    usable = [entry for entry in entries if not is_special(entry) and num_words(entry.summary) >= 5]
    usable = distinct(usable, lambda entry: entry.summary)[:MAX_DOCUMENTS]
    queries = [(f"{entry.module.split('.')[-1].strip('_')} {spoken_name(entry)}", entry) for entry in usable]
    return _task("pydoc-name-description", queries[:MAX_QUERIES], {entry.key: entry.summary for entry in usable})


def question_about(summary: str) -> str | None:
    """Return a question about the class of a method with this summary; None if it does not start with a known verb."""
    first, _, rest = summary.strip(" .").partition(" ")
    verb = VERBS.get(first.lower())
    rest = re.sub(r"\b(this|the) (object|instance|class)\b", "it", rest)
    return f"Which class lets me {verb} {rest}?" if verb and num_words(rest) >= 3 else None


def question_to_class(entries: Sequence[Entry]) -> BuiltTask:
    """Return the task: given a question about what a method does, find the description of its class."""
    classes = [entry for entry in entries if entry.kind == "class" and num_words(entry.full) >= 5]
    classes = distinct(classes, lambda entry: entry.full)[:MAX_DOCUMENTS]
    by_key = {entry.key: entry for entry in classes}
    queries: list[tuple[str, Entry]] = []
    taken: Counter[str] = Counter()
    for entry in distinct(entries, lambda entry: entry.summary):
        owner = by_key.get(entry.key.rpartition(".")[0]) if "." in entry.name else None
        question = question_about(entry.summary)
        if owner and question and taken[owner.key] < _QUERIES_PER_CLASS and len(queries) < MAX_QUERIES:
            taken[owner.key] += 1
            queries.append((question, owner))
    documents = {entry.key: f"{split_name(entry.name)}: {entry.full}" for entry in classes}
    return _task("pydoc-question-class", queries, documents)
