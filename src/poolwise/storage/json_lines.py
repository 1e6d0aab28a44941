"""Lines of text or JSON, plain or gzipped: each with its number, or the reason why it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from poolwise.errors import DataError, PoolwiseError, explain, one_line
from poolwise.storage.inflate import READ_ERRORS, open_binary
from poolwise.storage.json_text import parse_json

CUT = "is the file whole?"
LONGEST_LINE = 2**28
"""Bytes of the longest line that is read (256 MiB): a file without line breaks would be one line in memory."""


@dataclass(frozen=True)
class Unreadable:
    """Takes the place of a line or row that cannot be read, and says why."""

    reason: str


def iter_lines(path: Path) -> Iterator[tuple[int, str | Unreadable]]:
    """Yield (line number from 1, line without its line break); lines with only white space are skipped.

    A byte order mark before the first line is skipped; a line that is not UTF-8 is yielded as ``Unreadable``.
    Raises: DataError where the file cannot be read to its end, such as a truncated file, inflates beyond measure, or
        has a line of ``LONGEST_LINE`` bytes.
    """
    number = 0
    try:
        with open_binary(path) as file:
            for number, raw in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
                if len(raw) == LONGEST_LINE:
                    raise DataError(
                        f"{path}:{number}: a line of {LONGEST_LINE:,} bytes or more", "wanted one row in each line"
                    )
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    yield number, Unreadable(f"not UTF-8: {error.reason}")
                    continue
                if text.strip():
                    yield number, text.rstrip("\r\n")
    except READ_ERRORS as error:
        raise cut_short(path, number + 1, error) from error


def iter_json_lines(path: Path) -> Iterator[tuple[int, object]]:
    """Yield (line number, value) of a file with one JSON value per line; a line that is not JSON gives ``Unreadable``.

    Raises: DataError as ``iter_lines``.
    """
    for number, line in iter_lines(path):
        yield number, line if isinstance(line, Unreadable) else parse_json_line(line)


def parse_json_line(line: str) -> object:
    """Return the JSON value of a line, or ``Unreadable``."""
    try:
        return parse_json(line)
    except ValueError as error:
        return Unreadable(f"not JSON: {one_line(error)}")


def cut_short(path: Path, line: int, error: BaseException) -> PoolwiseError:
    """Return the error for a file that cannot be read from ``line`` on."""
    if isinstance(error, OSError) and (known := explain(error)) is not None:
        return known  # it may not be read at all
    reason = str(error) or type(error).__name__
    return DataError(f"{path}:{line}: cannot be read further: {reason}", hint=CUT)
