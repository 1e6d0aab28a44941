"""What the pages of a parquet file state of their sizes, read without inflating any of them.

Source: parquet.thrift of apache/parquet-format, in Thrift's compact protocol. pyarrow has the sizes of the footer only,
which a hostile file states too small, and ends the process where a footer contradicts itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"PAR1"
_USUAL_HEADER, _MOST_HEADER = 1 << 10, 1 << 20
"""Bytes of most headers of pages, and of the longest one: it may hold the smallest and the largest value."""
_MOST_DEPTH = 12
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_NUMBERS = (4, 5, 6)

# Numbers of fields in parquet.thrift.
_ROW_GROUPS, _COLUMNS, _META_DATA = 4, 1, 3
_NUM_VALUES, _TOTAL_COMPRESSED, _DATA_OFFSET, _DICTIONARY_OFFSET = 5, 7, 9, 11
_INFLATED_SIZE, _SIZE, _DATA_PAGE, _DATA_PAGE_V2, _PAGE_VALUES = 2, 3, 5, 8, 1


@dataclass(frozen=True)
class Chunk:
    """One column of one row group: what its pages state together."""

    num_values: int
    """Of a list, each of its values counts, and an empty list as one."""
    num_bytes: int
    """Once inflated, before values that stand in a dictionary are repeated."""


def row_groups(path: Path) -> list[list[Chunk]]:
    """Return the chunks of each row group, by the order of columns.

    Raises: ValueError where the footer or a page's header is damaged; OSError where the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            groups = _footer(file).get(_ROW_GROUPS, [])
            return [[_chunk(file, column) for column in group[_COLUMNS]] for group in groups]
        except (LookupError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError("its pages are not where its footer says") from error


def _footer(file: BinaryIO) -> dict[int, Any]:
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length > size - 8:
        raise ValueError("it has no footer of a parquet file")
    file.seek(size - 8 - length)
    return _Thrift(file.read(length)).struct()


def _chunk(file: BinaryIO, column: dict[int, Any]) -> Chunk:
    stated = column[_META_DATA]
    # Of an empty chunk, some writers give no place, or 0, for a dictionary that it does not have.
    start = min(place for place in (stated[_DATA_OFFSET], stated.get(_DICTIONARY_OFFSET)) if place)
    pages = list(_pages(file, start, start + stated[_TOTAL_COMPRESSED]))
    num_values = max(stated[_NUM_VALUES], sum(page.num_values for page in pages))
    return Chunk(num_values, sum(page.num_bytes for page in pages))


def _pages(file: BinaryIO, start: int, end: int) -> Iterator[Chunk]:
    """Yield what each page between two places states."""
    while start < end:
        thrift, header = _page_header(file, start, end)
        if header[_SIZE] < 0 or header[_INFLATED_SIZE] < 0:
            raise ValueError("a page has a size below 0")
        values = header.get(_DATA_PAGE) or header.get(_DATA_PAGE_V2) or {_PAGE_VALUES: 0}  # a dictionary has no values
        yield Chunk(values[_PAGE_VALUES], header[_INFLATED_SIZE])
        start += thrift.place + header[_SIZE]


def _page_header(file: BinaryIO, start: int, end: int) -> tuple[_Thrift, dict[int, Any]]:
    for most in (_USUAL_HEADER, _MOST_HEADER):
        file.seek(start)
        thrift = _Thrift(file.read(min(most, end - start)))
        with contextlib.suppress(IndexError):  # it is longer
            return thrift, thrift.struct()
    raise ValueError("the header of a page has no end")


class _Thrift:
    """Reads structs of Thrift's compact protocol; ``place`` is where the next one begins."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self.place = raw, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return a struct's values by the numbers of their fields."""
        if depth > _MOST_DEPTH:
            raise ValueError("its footer is nested too deep")
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._signed()
            found[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _NUMBERS:
            return self._signed()
        if kind == _BINARY:
            return self._skip(self._unsigned())
        if kind in (_TRUE, _FALSE, _BYTE):  # inside a list a truth value has a byte of its own
            return self._byte()
        if kind == _DOUBLE:
            return self._skip(8)
        if kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._unsigned()
            return [self._item(head & 15, depth) for _ in range(count)]
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"its footer has a value of the unknown kind {kind}")

    def _item(self, kind: int, depth: int) -> Any:
        if kind in (_LIST, _SET) and depth > _MOST_DEPTH:
            raise ValueError("its footer is nested too deep")
        return self._value(kind, depth + 1)

    def _byte(self) -> int:
        value = self._raw[self.place]
        self.place += 1
        return value

    def _skip(self, count: int) -> None:
        """Pass over bytes that nobody asks for."""
        self.place += count
        if self.place > len(self._raw):
            raise IndexError

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("its footer has a number of more than 64 bits")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
