"""Reads rows from a file: JSON lines, CSV, TSV or parquet, chosen by its suffix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poolwise.errors import DataError
from poolwise.storage.inflate import FREE_BYTES, READ_ERRORS, require_measure
from poolwise.storage.json_lines import cut_short, iter_json_lines
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


def num_parquet_rows(path: Path) -> int:
    """Return how many rows a parquet file states. Raises: DataError where it cannot be read."""
    import pyarrow.parquet

    try:
        return int(pyarrow.parquet.read_metadata(path).num_rows)
    except _parquet_errors() as error:
        raise _no_parquet(path, error) from error
    except READ_ERRORS as error:
        raise cut_short(path, 1, error) from error


def _parquet_errors() -> tuple[type[Exception], ...]:
    """Return what pyarrow raises for a damaged file: also for columns its schema lacks, and names not in UTF-8."""
    import pyarrow

    return pyarrow.ArrowException, LookupError, UnicodeDecodeError


def _no_parquet(path: Path, error: Exception) -> DataError:
    return DataError(f"cannot read {path}: {str(error).splitlines()[0]}", "wanted a parquet file", "is the file whole?")


def _repeating_columns(path: Path) -> list[str]:
    """Return the columns of text of which a parquet file holds each value once, and may repeat it without end.

    Raises: DataError where the file states that it inflates beyond measure; an error of pyarrow's where it is damaged.
    """
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        stated = file.metadata
        groups = [stated.row_group(number) for number in range(stated.num_row_groups)]
        require_measure(path, sum(group.total_byte_size for group in groups))
        for number in range(stated.num_row_groups):
            # The reader raises what is wrong with a chunk's metadata; asked for it alone, pyarrow 26 ends the process.
            next(file.iter_batches(1, row_groups=[number]), None)
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    found = {c.path_in_schema for c in chunks if c.has_dictionary_page and c.physical_type == "BYTE_ARRAY"}
    return sorted(name for name in found if "." not in name)


def _rows_of(path: Path, batches: Iterator[Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a parquet file, a bounded part of them in memory.

    Raises: DataError where repeated values inflate beyond measure.
    """
    import pyarrow
    import pyarrow.compute

    total = 0
    for batch in batches:
        columns = [column for column in batch.columns if isinstance(column, pyarrow.DictionaryArray)]
        size = 0
        for column in columns:
            lengths = pyarrow.compute.binary_length(column.dictionary)
            size += pyarrow.compute.sum(lengths.take(column.indices)).as_py() or 0
        total += size
        require_measure(path, total)
        step = max(1, batch.num_rows * FREE_BYTES // max(size, FREE_BYTES))
        for start in range(0, batch.num_rows, step):
            part = batch.slice(start, step)
            plain = [c.dictionary_decode() if isinstance(c, pyarrow.DictionaryArray) else c for c in part.columns]
            yield from _as_python(path, pyarrow.RecordBatch.from_arrays(plain, names=part.schema.names))


def _as_python(path: Path, batch: Any) -> list[dict[str, Any]]:
    """Return the rows of a batch. Raises: DataError for a column with a value that Python has no equal for."""
    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            columns[name] = column.to_pylist()
        except (ValueError, ArithmeticError, LookupError) as error:
            # Text that is not UTF-8, a date beyond the year 9999, an unknown time zone.
            raise DataError(
                f"cannot read the column {name!r} of {path}: {str(error).splitlines()[0]}",
                "wanted texts in UTF-8, numbers, and dates of the years 1 to 9999",
            ) from error
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _parquet_rows(path: Path) -> Iterator[tuple[int, object]]:
    import pyarrow.parquet

    number = 0
    try:
        repeating = _repeating_columns(path)
        with pyarrow.parquet.ParquetFile(path, read_dictionary=repeating) as file:
            for number, row in enumerate(_rows_of(path, file.iter_batches(_BATCH_ROWS)), start=1):
                yield number, row
    except _parquet_errors() as error:
        raise _no_parquet(path, error) from error
    except READ_ERRORS as error:
        raise cut_short(path, number + 1, error) from error
