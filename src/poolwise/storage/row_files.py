"""Reads rows from a file: JSON lines, CSV, TSV or parquet, chosen by its suffix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from poolwise.errors import DataError
from poolwise.storage.json_lines import READ_ERRORS, cut_short, iter_json_lines
from poolwise.storage.tables import iter_table

TEXT_SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
_BATCH_ROWS = 4096
"""Rows of a parquet file in memory at a time; arrow's default of 65,536 long documents takes a GiB."""


def iter_rows(path: Path) -> Iterator[tuple[int, object]]:
    """Yield (line or row number from 1, row) of a file; a row that cannot be read is yielded as ``Unreadable``.

    A row is the JSON value of a line, or a mapping of column to cell.

    Raises: DataError where the file cannot be read to its end.
    """
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    return iter_table(path) if is_table(path) else iter_json_lines(path)


def is_table(path: Path) -> bool:
    """Return whether a file is CSV or TSV, in which every row has every column and every value is text or None."""
    return path.name.removesuffix(".gz").endswith((".csv", ".tsv"))


def _parquet_rows(path: Path) -> Iterator[tuple[int, object]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(_BATCH_ROWS) for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                yield number, row
    except pyarrow.ArrowException as error:
        raise DataError(f"cannot read {path}: {str(error).splitlines()[0]}", "wanted a parquet file") from error
    except READ_ERRORS as error:
        raise cut_short(path, number + 1, error) from error
