"""Training pairs made from standard-library documentation, from modules that no evaluation task uses."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from poolwise.embedded.pydoc_read import Entry
from poolwise.embedded.pydoc_rows import Row, is_special, spoken_name, unnamed_body
from poolwise.embedded.pydoc_text import NearDuplicates, normalise, order, words

_SPLIT_SALT = 7950
"""Chosen among 20,000 so that every subject area has enough evaluation texts; no model was evaluated for it."""

_EVALUATION_SHARE = 0.45
_LONGEST_POSITIVE = 300


def is_evaluation(family: str) -> bool:
    """Return whether a module family is for evaluation; only its name decides, so all Python versions agree."""
    digest = hashlib.sha256(f"{_SPLIT_SALT}:{family}".encode()).hexdigest()
    return int(digest[:8], 16) < _EVALUATION_SHARE * 2**32


def split_entries(entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Return (training entries, evaluation entries); no module is on both sides."""
    sides: tuple[list[Entry], list[Entry]] = ([], [])
    for entry in entries:
        sides[is_evaluation(entry.family)].append(entry)
    return sides


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_POSITIVE else text[:_LONGEST_POSITIVE].rsplit(" ", 1)[0]


def _pairs(entry: Entry) -> list[tuple[str, str, str]]:
    """Return (form, query, positive) of every pair made from an entry."""
    pairs = []
    if len(words(entry.body)) >= 6:
        pairs.append(("body", entry.summary, _cut(unnamed_body(entry))))
    if not is_special(entry):
        module = entry.module.split(".")[-1].strip("_")
        pairs.append(("name", f"{module} {spoken_name(entry)}", _cut(entry.summary)))
    return pairs


def _with_negatives(rows: Sequence[tuple[str, str, str]]) -> list[Row]:
    """Return the rows of one module and form, each with the next row's positive as its hard negative.

    A row gets no negative if the two positives are nearly the same.
    """
    made = []
    for i, (_, query, positive) in enumerate(rows):
        row = {"query": query, "positive": positive}
        other = rows[(i + 1) % len(rows)]
        if other[2] not in NearDuplicates([positive, query]) and normalise(other[1]) != normalise(query):
            row["negative"] = other[2]
        made.append(row)
    return made


def build_pairs(entries: Sequence[Entry], held_out: Iterable[str]) -> list[Row]:
    """Return the training rows of ``entries`` in pseudo-random order.

    Args:
        held_out: every evaluation text; an entry that is nearly equal to one of them is dropped.
    """
    near = NearDuplicates(held_out)
    groups: defaultdict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for entry in sorted(entries, key=lambda entry: order(entry.key)):
        pairs = _pairs(entry)
        texts = {entry.summary, entry.body, entry.full, *(text for pair in pairs for text in pair[1:])}
        if any(text and text in near for text in texts):
            continue
        for form, query, positive in pairs:
            mark = (normalise(query), normalise(positive))
            if mark not in seen:
                seen.add(mark)
                groups[entry.module, form].append((entry.key, query, positive))
    rows = [row for key in sorted(groups) for row in _with_negatives(groups[key])]
    return sorted(rows, key=lambda row: order(row["query"], row["positive"]))
