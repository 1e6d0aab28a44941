"""Rows of a corpus: an id and a text from the fields of any source, or the reason why a row is set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from poolwise.corpus.inputs import Table
from poolwise.corpus.manifest import Rejected
from poolwise.errors import ConfigError, DataError
from poolwise.storage.fingerprints import hash_texts
from poolwise.storage.json_lines import Unreadable
from poolwise.storage.row_problems import absent_columns

ID_FIELDS = ("_id", "id", "docid", "doc_id", "document_id", "pid")
TEXT_FIELDS = ("text", "contents", "content", "body", "passage", "document", "sentence")
TITLE_FIELD = "title"
OWN_COLUMNS = (
    *("id", "digest", "text", "embedding"),
    *("document", "chunk", "start_char", "end_char", "start_token", "end_token"),
)
"""Columns of a shard, whose names no kept field may have."""

MOST_OF_TEXT = 16_000_000
"""Of a text: to tokenise all of one takes 200 times as many bytes. *War and Peace* has 3 million."""
_PATIENCE = 1000
"""If this many rows in a row have no text field, the field's name is wrong, and the rest need not be read."""
_DIGITS = 32
"""Hexadecimal digits of a row's digest: 128 bits, so that two rows of a corpus never share one."""


@dataclass(frozen=True)
class Columns:
    """Which fields of a row are read; None detects the field from its name.

    Args:
        keep: fields that are stored beside the embeddings.
    Raises: ConfigError for a kept field that has the name of a column of the shards, or is named twice.
    """

    id: str | None = None
    text: str | None = None
    title: str | None = None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if taken := [name for name in self.keep if name in OWN_COLUMNS or self.keep.count(name) > 1]:
            hint = "store the encoded text with --keep-text" if taken[0] == "text" else "rename the field in the input"
            raise ConfigError(
                f"--keep {taken[0]}", f"wanted each field once, and none named {', '.join(OWN_COLUMNS)}", hint
            )


@dataclass(frozen=True, slots=True)
class Span:
    """Where a chunk lies in its document: characters and tokens, each from the first to before the last."""

    document: str
    chunk: int
    start_char: int
    end_char: int
    start_token: int
    end_token: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One text to encode: a document, or a chunk of one.

    Args:
        digest: hash of everything that its shard stores of it, so that a changed row is found.
        kept: values of the kept fields.
        context: the whole document, if the embedding of the chunk depends on it.
    """

    id: str
    text: str
    digest: str
    kept: tuple[str | None, ...] = ()
    span: Span | None = None
    context: str | None = None


def digest_of(text: str, kept: Sequence[str | None], context: str = "") -> str:
    """Return the digest of a row: 32 hexadecimal digits."""
    return hash_texts([text, context, *("" if value is None else f"={value}" for value in kept)])[:_DIGITS]


class _Bad(Exception):  # noqa: N818 - it never leaves this module
    """Why a row is set aside."""


class RowReader:
    """Reads the rows of one table; its first row with a text decides the names of the fields.

    A row that is a text gets the id ``TABLE:NUMBER``, and so does every row of a table without an id field.
    """

    def __init__(self, columns: Columns, table: Table) -> None:
        self._columns, self._table = columns, table
        self._id = columns.id
        self._text = columns.text
        self._has_names = False
        self._fields: dict[str, None] = {}

    def rows(self) -> Iterator[tuple[int, Row | Rejected]]:
        """Yield (line or row number, row, or why it is set aside).

        Raises: DataError where the table cannot be read to its end, or its rows do not have the named fields.
        """
        number = 0
        for count, (number, value) in enumerate(self._table.rows(), start=1):
            row_id = None
            try:
                fields = self._fields_of(value)
                if fields is None:
                    row = self._plain(number, value)
                else:
                    row_id = self._id_of(number, fields)
                    row = self._row(row_id, fields)
            except _Bad as bad:
                if count == _PATIENCE:
                    self._require_names()
                yield number, Rejected(source=self._table.name, line=number, id=row_id, reason=str(bad))
            else:
                yield number, row
        if number:
            self._require_names()

    def _fields_of(self, value: object) -> dict[str, object] | None:
        """Return the fields of a row; None for a row that is a text."""
        if isinstance(value, Unreadable):
            raise _Bad(value.reason)
        if isinstance(value, str):
            self._has_names = True
            return None
        if not isinstance(value, dict):
            raise _Bad(f"the row is a {_kind(value)}, wanted an object with a text")
        if not self._has_names:
            self._fields |= dict.fromkeys(map(str, value))
            self._text = self._columns.text or next((name for name in TEXT_FIELDS if name in value), None)
            if self._text is not None and self._text in value:
                self._id = self._columns.id or next((name for name in ID_FIELDS if name in value), None)
                self._has_names = True
        return value

    def _plain(self, number: int, value: object) -> Row:
        text = _text(value, "the row")
        if self._columns.keep:
            raise _Bad(f"the row is a text without the field {self._columns.keep[0]!r}")
        return Row(f"{self._table.name}:{number}", text, digest_of(text, ()))

    def _id_of(self, number: int, fields: dict[str, object]) -> str:
        if self._id is None:
            return f"{self._table.name}:{number}"
        value = fields.get(self._id)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is None or value == "":
            raise _Bad(f"no id in {self._id!r}")
        if not isinstance(value, str):
            raise _Bad(f"the id in {self._id!r} is a {_kind(value)}, wanted a string or a whole number")
        return _valid(value, self._id)

    def _row(self, row_id: str, fields: dict[str, object]) -> Row:
        if self._text is None or self._text not in fields:
            raise _Bad(f"no text in {self._text!r}" if self._text else "no text field")
        text = _text(fields[self._text], repr(self._text))
        title = fields.get(self._columns.title or TITLE_FIELD)
        if title and not isinstance(title, str):
            raise _Bad(f"the title is a {_kind(title)}, wanted a string")
        # Title, space, text: how BEIR and mteb join them.
        joined = f"{_valid(title, 'title')} {text}".strip() if isinstance(title, str) and title else text
        kept = tuple(_kept(fields.get(name), name) for name in self._columns.keep)
        return Row(row_id, joined, digest_of(joined, kept), kept)

    def _require_names(self) -> None:
        if self._has_names or not self._fields:
            return
        name = self._columns.text
        absent = {name: f"--text-column names {name!r}"} if name else {"text": "none of them is known as a text"}
        raise DataError(
            absent_columns(self._table.name, self._fields, absent, "name the field of the text with --text-column")
        )


def _text(value: object, field: str) -> str:
    if value is None:
        raise _Bad("empty text")
    if not isinstance(value, str):
        raise _Bad(f"{field} is a {_kind(value)}, wanted a text")
    if not value.strip():
        raise _Bad("empty text")
    if len(value) > MOST_OF_TEXT:
        raise _Bad(f"a text of {len(value):,} characters, wanted at most {MOST_OF_TEXT:,}: split it into documents")
    return _valid(value, field)


def _kept(value: object, field: str) -> str | None:
    """Return a kept value as a text: other values than texts as JSON."""
    if value is None or isinstance(value, str):
        return None if value is None else _valid(value, field)
    return json.dumps(value, ensure_ascii=False, default=str)


def _valid(text: str, field: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # JSON allows half a surrogate pair, which no file and no tokenizer takes; a CSV with other bytes gives them.
        raise _Bad(f"not UTF-8 in {field}: {error.reason}") from error
    return text


def _kind(value: object) -> str:
    names = {"dict": "object", "NoneType": "null", "str": "text", "bool": "truth value", "int": "number"}
    return names.get(type(value).__name__, type(value).__name__)
