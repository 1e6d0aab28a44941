"""The known formats (dialects) of contrastive training rows, detected from their field names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from poolwise.config import ColumnNames
from poolwise.wording import is_unicode


class RowError(ValueError):
    """A row cannot be used for training; the message says which field and why."""


class UnknownDialectError(RowError):
    """The fields of a row match no known dialect."""


@dataclass(frozen=True)
class Dialect:
    """The fields of a row's query, positives and negatives. The order of the fields in a row does not matter.

    A field holds a text, a list of texts, or a list of passages ``{"docid", "title", "text"}``. ``negative`` lists
    field names, in order, or is a pattern: then all matching fields, sorted by the number in their names.
    """

    name: str
    query: str
    positive: str
    negative: re.Pattern[str] | tuple[str, ...]


_NEGATIVES = re.compile(r"negatives?(?:_(\d{1,9}))?")
DIALECTS: tuple[Dialect, ...] = (
    Dialect("anchor/positive/negative", "anchor", "positive", _NEGATIVES),
    Dialect("FlagEmbedding", "query", "pos", re.compile(r"neg()")),
    Dialect("Tevatron", "query", "positive_passages", re.compile(r"negative_passages()")),
    Dialect("query/positive/negative", "query", "positive", _NEGATIVES),
)


def detect_dialect(row: object) -> Dialect:
    """Return the dialect of a row.

    Raises: UnknownDialectError where the row has the query and positive fields of no dialect.
    """
    present = set(_fields(row))
    for dialect in DIALECTS:
        if {dialect.query, dialect.positive} <= present:
            return dialect
    wanted = ", ".join(f"{dialect.query}+{dialect.positive}" for dialect in DIALECTS)
    shown = ", ".join(sorted(present)) or "(none)"
    raise UnknownDialectError(f"unknown training format with the fields {shown}; wanted {wanted}")


def parse_row(row: object, dialect: Dialect) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return (query, positive, negatives) of a row, one for each of its positives.

    A repeated negative is kept once; a negative field that is missing or null has no negatives.
    Raises: RowError where a field is missing, empty, or not text.
    """
    row = _fields(row)
    queries = _texts(row, dialect.query)
    if len(queries) > 1:
        raise RowError(f"{len(queries)} texts in {dialect.query!r}, wanted one")
    fields = _negative_fields(row, dialect)
    negatives = dict.fromkeys(text for name in fields for text in _texts(row, name, needed=False))
    return [(queries[0], positive, tuple(negatives)) for positive in _texts(row, dialect.positive)]


def named_dialect(columns: ColumnNames) -> Dialect:
    """Return the dialect of a source whose field names are given in the recipe."""
    negative = _NEGATIVES if columns.negative is None else tuple(columns.negative)
    named = {"query": columns.query, "positive": columns.positive, "negative": " and ".join(columns.negative or [])}
    name = ", ".join(f"{column} as {part}" for part, column in named.items() if column)
    return Dialect(name, columns.query, columns.positive, negative)


def named_fields(dialect: Dialect) -> dict[str, str]:
    """Return the part (query, positive, negative) of each field that a dialect names, without pattern matches."""
    negatives = dialect.negative if isinstance(dialect.negative, tuple) else ()
    return {dialect.query: "query", dialect.positive: "positive"} | dict.fromkeys(negatives, "negative")


def _negative_fields(row: Mapping[str, object], dialect: Dialect) -> list[str]:
    if isinstance(dialect.negative, tuple):
        return [name for name in dialect.negative if name in row]
    numbered = [(int(found[1] or 0), name) for name in row if (found := dialect.negative.fullmatch(name))]
    return [name for _, name in sorted(numbered)]


def _fields(row: object) -> Mapping[str, object]:
    if not isinstance(row, Mapping):
        raise RowError(f"wanted a JSON object, got {type(row).__name__}")
    return row


def _texts(row: Mapping[str, object], field: str, needed: bool = True) -> list[str]:
    value = row.get(field)
    items = value if isinstance(value, list) else [] if value is None else [value]
    if needed and not items:
        raise RowError(f"field {field!r} is {'empty' if field in row else 'missing'}")
    return [_text(item, field) for item in items]


def _text(item: object, field: str) -> str:
    if isinstance(item, Mapping):
        if "text" not in item:
            raise RowError(f"a passage of {field!r} has no 'text'")
        title, body = item.get("title") or "", item["text"]
        item = f"{title} {body}" if title and isinstance(body, str) else body
    if not isinstance(item, str):
        raise RowError(f"field {field!r} holds {type(item).__name__}, wanted text")
    if not item.strip():
        raise RowError(f"empty text in {field!r}")
    if not is_unicode(item):
        raise RowError(f"half a surrogate pair in {field!r}, which cannot be written as UTF-8")
    return item
