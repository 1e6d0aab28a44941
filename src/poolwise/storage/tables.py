"""Reads CSV and TSV with a header row, plain or gzipped, as rows of text by column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from poolwise.errors import DataError
from poolwise.storage.inflate import READ_ERRORS, open_binary
from poolwise.storage.json_lines import Unreadable, cut_short

_LONGEST_CELL = 2**28
"""The csv module's default limit is 131,072 characters; documents can be longer."""


def iter_table(
    path: Path, errors: Literal["strict", "surrogateescape"] = "strict"
) -> Iterator[tuple[int, dict[str, str | None] | Unreadable]]:
    """Yield (line on which a row starts, its cells by column); an empty cell is None, blank lines are skipped.

    Cells follow RFC 4180: quoted if they contain the delimiter, a quote or a line break. The delimiter of a CSV is the
    comma, semicolon or tab that is most frequent in its header; a row of another length gives ``Unreadable``.

    Args:
        errors: what bytes that are not UTF-8 become: an error, or half surrogate pairs that the caller must look for.
    Raises: DataError where the file is truncated, not UTF-8 (if strict), has an unclosed quote, or two columns of one
        name.
    """
    rows = _iter_cells(path, errors)
    _, names = next(rows, (0, []))
    names = [name.strip() for name in names]
    if repeated := [name for name in names if name and names.count(name) > 1]:
        raise DataError(f"{path} has two columns {repeated[0]!r}", "wanted a header row with a name for each column")
    for line, cells in rows:
        if len(cells) != len(names):
            yield line, Unreadable(f"{len(cells)} cells, the header has {len(names)}")
        else:
            # A column without a name, such as the index that pandas writes, is ignored.
            yield line, {name: cell if cell.strip() else None for name, cell in zip(names, cells, strict=True) if name}


def _iter_cells(path: Path, errors: str) -> Iterator[tuple[int, Sequence[str]]]:
    line = 0
    try:
        with io.TextIOWrapper(open_binary(path), encoding="utf-8-sig", errors=errors, newline="") as file:
            start = file.readline()
            file.seek(0)
            # Strict: otherwise an unclosed quote would make the rest of the file one cell.
            reader = csv.reader(file, delimiter=_delimiter(path, start), strict=True)
            while True:
                line = reader.line_num + 1
                if (cells := _next(reader)) is None:
                    return
                if any(cell.strip() for cell in cells):
                    yield line, cells
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{line}: not UTF-8, in this line or soon after it: {error.reason}",
            hint="save it as UTF-8 (in a spreadsheet: CSV UTF-8)",
        ) from error
    except csv.Error as error:
        raise DataError(
            f"{path}:{line}: {error}", "wanted every quote closed, and quotes inside a cell doubled"
        ) from error
    except READ_ERRORS as error:
        raise cut_short(path, line, error) from error


def _next(reader: Iterator[list[str]]) -> list[str] | None:
    # The limit is global to the process, so it is restored for other users.
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)


def _delimiter(path: Path, header: str) -> str:
    return "\t" if path.name.removesuffix(".gz").endswith(".tsv") else max(",;\t", key=header.count)
