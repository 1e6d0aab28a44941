"""Inputs of a corpus by name: files, folders, patterns, URLs, data sets of the hub, standard input."""

from __future__ import annotations

import glob
import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from poolwise.corpus.remote import fetched, find_remote, is_url, size_of
from poolwise.data.source_files import is_hub_name, iter_hub_rows
from poolwise.errors import DataError, collect
from poolwise.storage.inflate import READ_ERRORS
from poolwise.storage.json_lines import Unreadable, iter_lines, parse_json_line
from poolwise.storage.row_files import SUFFIXES, is_table, iter_rows, num_parquet_rows
from poolwise.storage.tables import iter_table

Rows = Iterator[tuple[int, object]]
PLAIN_SUFFIXES = (".txt", ".txt.gz")
ALL_SUFFIXES = (*SUFFIXES, *PLAIN_SUFFIXES)
STDIN = "-"
_SAMPLE = 1 << 20
"""Bytes at the start of a file from which its number of rows is estimated."""


@dataclass(frozen=True)
class Table:
    """One file or data set of an input.

    Args:
        name: in messages, and in the ids of rows that have none.
        rows: yields (line or row number from 1, row); it can be called once.
        num_rows: how many rows it has, about; None if that is not known before they are read.
    """

    name: str
    rows: Callable[[], Rows]
    num_rows: int | None = None


def find_tables(inputs: Sequence[str], split: str, scratch: Path) -> list[Table]:
    """Return the tables of all inputs, in their order; files of a folder or a pattern are sorted by name.

    Args:
        split: of data sets of the hub.
        scratch: folder to which files behind URLs are fetched, one at a time.
    Raises: DataError that lists all inputs that are missing, unreadable or given twice.
    """
    problems: list[str] = []
    tables: list[Table] = []
    for name in inputs:
        try:
            tables += _tables(name, split, scratch)
        except DataError as error:
            problems.append(str(error))
    names = [table.name for table in tables]
    problems += [f"{name}: given twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if len(problems) == 1:
        raise DataError(problems[0])
    collect(problems, DataError, "inputs")
    return tables


def _tables(name: str, split: str, scratch: Path) -> list[Table]:
    if name == STDIN:
        return [Table("stdin", _stdin_rows)]
    if is_url(name):
        return [_remote_table(url, scratch) for url in find_remote(name)]
    path = Path(name).expanduser()
    if path.is_dir():
        return [_file_table(file) for file in _files_of(path)]
    if path.is_file():
        return [_file_table(path)]
    if found := _matching(path):
        return [_file_table(file) for file in found]
    if is_hub_name(name):
        data_set, _, config = name.partition(":")
        rows = iter_hub_rows(data_set, config or None, split, streaming=True)
        return [Table(name, lambda: rows)]
    what = "no file matches" if glob.has_magic(name) else "no such file, folder or data set:"
    raise DataError(f"{what} {name}", f"wanted {', '.join(ALL_SUFFIXES)}, OWNER/NAME of the Hub, a URL or -")


def _matching(pattern: Path) -> list[Path]:
    """Return the files that match a pattern, sorted; ``**`` stands for any folders."""
    parts = pattern.parts
    first = next((place for place, part in enumerate(parts) if glob.has_magic(part)), None)
    if first is None:
        return []
    return sorted(file for file in Path(*parts[:first]).glob(str(Path(*parts[first:]))) if file.is_file())


def _files_of(folder: Path) -> list[Path]:
    """Return a BEIR folder's corpus, or all files of another folder."""
    files = sorted(file for file in folder.iterdir() if file.name.endswith(ALL_SUFFIXES) and file.is_file())
    corpus = [file for file in files if file.name.partition(".")[0] == "corpus"]
    if not files:
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:10]) or "nothing"
        raise DataError(f"folder {folder} has no file of texts: found {found}", f"wanted {', '.join(ALL_SUFFIXES)}")
    return corpus or files


def _file_table(path: Path) -> Table:
    _require_known(str(path))
    return Table(str(path), lambda: _iter_file(path), _estimate(path))


def _remote_table(url: str, scratch: Path) -> Table:
    _require_known(url)
    size = size_of(url)

    def rows() -> Rows:
        with fetched(url, scratch, size) as path:
            try:
                yield from _iter_file(path)
            except DataError as error:
                # The user knows the URL, not the file that it was fetched to.
                raise DataError(str(error).replace(str(path), url)) from error

    return Table(url, rows)


def _require_known(name: str) -> None:
    if not name.endswith(ALL_SUFFIXES):
        raise DataError(f"unknown suffix of {name}", f"wanted {', '.join(ALL_SUFFIXES)}")


def _iter_file(path: Path) -> Rows:
    if path.name.endswith(PLAIN_SUFFIXES):
        return iter_lines(path)
    # Bytes that are not UTF-8 must cost one row of a CSV, not the rest of it.
    return iter_table(path, errors="surrogateescape") if is_table(path) else iter_rows(path)


def _stdin_rows() -> Rows:
    """Yield the rows of standard input: JSON lines if the first line is a JSON object, else a text per line."""
    lines = iter_lines(Path("/dev/stdin"))
    first = next(lines, None)
    if first is None:
        return
    is_json = isinstance(first[1], str) and isinstance(parse_json_line(first[1]), dict)
    for number, line in chain([first], lines):
        yield number, parse_json_line(line) if is_json and not isinstance(line, Unreadable) else line


def _estimate(path: Path) -> int | None:
    """Return about how many rows a file has: exactly for parquet, else from its start.

    Raises: DataError for a parquet file that cannot be read.
    """
    if path.suffix == ".parquet":
        return num_parquet_rows(path)
    try:
        with path.open("rb") as raw:
            sample = gzip.GzipFile(fileobj=raw).read(_SAMPLE) if path.suffix == ".gz" else raw.read(_SAMPLE)
            used = raw.tell()
    except READ_ERRORS:
        return None  # reading the rows reports it
    return sample.count(b"\n") * path.stat().st_size // used if used else None
