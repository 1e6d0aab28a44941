"""Texts for training without pairs: from training rows, or from sources with a ``text`` field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from poolwise.data.dialects import RowError, UnknownDialectError, detect_dialect, parse_row
from poolwise.data.sources import source_tables
from poolwise.data.triples import Triple
from poolwise.errors import DataError, collect
from poolwise.storage.fingerprints import LENGTH, hash_texts
from poolwise.storage.json_lines import Unreadable
from poolwise.storage.row_problems import RowProblems


def triple_texts(triples: Iterable[Triple]) -> list[str]:
    """Return the distinct texts of these rows, in order of first appearance."""
    return list(dict.fromkeys(text for triple in triples for text in triple.texts))


def load_plain_texts(sources: Sequence[str]) -> list[str]:
    """Return the distinct texts of the sources, in order of first appearance.

    A row is a text, or has a ``text`` field, or is a training row, of which all texts are used.

    Raises: DataError that lists all missing sources, or else all bad lines.
    """
    tables = []
    problems: list[str] = []
    for name in dict.fromkeys(sources):
        try:
            tables += source_tables(name)
        except DataError as error:
            problems.append(str(error))
    collect(problems, DataError, "sources of texts")
    found: dict[str, None] = {}
    for table, rows in tables:
        bad = RowProblems(table)
        try:
            for number, row in rows:
                bad.num_rows += 1
                try:
                    found |= dict.fromkeys(_texts_of(row))
                except UnknownDialectError as error:
                    bad.note(number, f"{error}, or a `text` field")
                except RowError as error:
                    bad.note(number, str(error))
        except DataError as error:  # a truncated file must not hide the bad lines of other files
            bad.note_file(str(error))
        problems += bad.lines()
    collect(problems, DataError, "bad rows of texts", "fix or remove them")
    if not found:
        raise DataError(f"no text in {', '.join(sources)}", hint="give sources with a `text` field, or training files")
    return list(found)


def _texts_of(row: object) -> list[str]:
    if isinstance(row, Unreadable):
        raise RowError(row.reason)
    text = row.get("text") if isinstance(row, dict) and "text" in row else row
    if isinstance(text, str):
        if not text.strip():
            raise RowError("empty text")
        return [text]
    parsed = parse_row(row, detect_dialect(row))
    return [text for query, positive, negatives in parsed for text in (query, positive, *negatives)]


def texts_fingerprint(texts: Iterable[str]) -> str:
    """Return a 16-digit hash of texts in order; the files they come from do not matter."""
    return hash_texts(texts)[:LENGTH]
