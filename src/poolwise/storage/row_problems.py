"""Collects what is wrong with the rows of one file, and reports it in few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from poolwise.errors import nearest
from poolwise.storage.row_files import is_table

_SHOWN = 20
"""The most column names in a message; a table without a header row would show a text for each of its columns."""


class RowProblems:
    """Collects the problems of the rows of one file. A problem of every row is reported once.

    Args:
        table: the name of the file in messages.
    """

    def __init__(self, table: str) -> None:
        self.table = table
        self.num_rows = 0
        self._noted: list[tuple[int, str]] = []
        self._of_file: list[str] = []

    def __len__(self) -> int:
        return len(self._noted) + len(self._of_file)

    def note(self, line: int, reason: str) -> None:
        """Add a problem of one row."""
        self._noted.append((line, reason))

    def note_file(self, problem: str) -> None:
        """Add a problem of the whole file; the message must name the file."""
        self._of_file.append(problem)

    def lines(self) -> list[str]:
        """Return one line per problem: first of the file, then of all rows, then of single rows in order."""
        counts = Counter(reason for _, reason in dict.fromkeys(self._noted))
        shared = [reason for reason, count in counts.items() if count == self.num_rows > 1]
        told = [f"{self.table}: in all {self.num_rows} rows: {reason}" for reason in shared]
        single = [f"{self.table}:{line}: {reason}" for line, reason in self._noted if reason not in shared]
        return [*self._of_file, *told, *single]


def absent_columns(table: str, found: Iterable[str], absent: Mapping[str, str], remedy: str) -> str:
    """Return one line about columns that no row of a file has, with the columns that it does have.

    Args:
        absent: each missing column, and in words why it is needed.
        remedy: what to do about it, in words.
    """
    kind = "columns" if is_table(Path(table)) else "fields"
    names = list(found)
    shown = ", ".join(name if len(name) <= 40 else f"{name[:37]}..." for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    asked = " and ".join(f"{why}{_guess(name, names)}" for name, why in absent.items())
    return f"{table} has the {kind} {shown or '(none)'}{more}; {asked}; {remedy}"


def _guess(name: str, names: Sequence[str]) -> str:
    guess = nearest(name, names)
    return f" ({guess})" if guess.startswith("did you mean") else ""
