"""Reads rows from a file: JSON lines, CSV, TSV or parquet, chosen by its suffix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poolwise.errors import DataError, one_line
from poolwise.storage.inflate import FREE_BYTES, READ_ERRORS, require_measure
from poolwise.storage.json_lines import cut_short, iter_json_lines
from poolwise.storage.parquet_pages import row_groups
from poolwise.storage.tables import iter_table

TEXT_SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
_BATCH_ROWS = 4096
"""Rows of a parquet file in memory at a time; arrow's default of 65,536 long documents takes a GiB."""
_VALUE_BYTES = 64
"""Of a row in Python, and of each value in its lists: a parquet file of 800 bytes can state billions of either."""
LARGEST_ROW = 2**28
"""Bytes of the largest row of a parquet file that is read (256 MiB), as of the longest line."""


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
    """Return what pyarrow raises for a damaged file: also for columns its schema lacks, and names not in UTF-8.
    ``parquet_pages`` raises ValueError, which UnicodeDecodeError is too.
    """
    import pyarrow

    return pyarrow.ArrowException, LookupError, ValueError


def _no_parquet(path: Path, error: Exception) -> DataError:
    if isinstance(error, MemoryError):
        return DataError(f"{path}: {one_line(error)}", "wanted rows that fit in memory")
    return DataError(f"cannot read {path}: {one_line(error)}", "wanted a parquet file", "is the file whole?")


def _batch_rows(path: Path, schema: Any) -> int:
    """Return how many rows of a parquet file fit in memory at a time, as its pages state it.

    Args:
        schema: the file's own, as pyarrow's ``ParquetFile`` has it.
    Raises: DataError where the pages inflate beyond measure; ValueError where they are damaged.
    """
    is_list = [schema.column(number).max_repetition_level > 0 for number in range(len(schema))]
    most, total = _BATCH_ROWS, 0
    for group in row_groups(path):
        lists = [chunk.num_values for chunk, listed in zip(group, is_list, strict=True) if listed]
        rows = max((chunk.num_values for chunk, listed in zip(group, is_list, strict=True) if not listed), default=0)
        size = _VALUE_BYTES * sum(lists)
        total += sum(chunk.num_bytes for chunk in group) + _VALUE_BYTES * (sum(lists) + rows)
        require_measure(path, total)
        most = min(most, max(1, FREE_BYTES * max(rows, 1) // max(size, 1)))
    return most


def _repeating_columns(path: Path) -> list[str]:
    """Return the columns of text of which a parquet file holds each value once, and may repeat it without end.

    Raises: an error of pyarrow's where the file is damaged.
    """
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        columns = [file.schema.column(number) for number in range(len(file.schema))]
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
        stated = file.metadata
        for number in range(stated.num_row_groups):
            # The reader raises what is wrong with a chunk's metadata; asked for it alone, pyarrow 26 ends the process.
            next(file.iter_batches(1, row_groups=[number]), None)
    groups = [stated.row_group(number) for number in range(stated.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    if unknown := {chunk.path_in_schema for chunk in chunks} - {column.path for column in columns}:
        raise LookupError(f"its schema lacks the column {min(unknown)}")
    found = {chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page}
    return [name for name in texts if name in found]


def _rows_of(path: Path, batches: Iterator[Any], plain: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a parquet file, a bounded part of them in memory.

    Args:
        plain: the schema that the rows have, with each repeated text written out.
    Raises: DataError where repeated values inflate beyond measure, or a row is too large.
    """
    total = 0
    for batch in batches:
        size, repeated = _size_in_python(batch)
        total += repeated
        require_measure(path, total)
        step = max(1, batch.num_rows * FREE_BYTES // max(size, FREE_BYTES))
        for start in range(0, batch.num_rows, step):
            part = batch.slice(start, step)
            if size > LARGEST_ROW:
                _require_small_rows(path, part)
            yield from _as_python(path, part.cast(plain))


def _require_small_rows(path: Path, part: Any) -> None:
    for number in range(part.num_rows):
        size, _ = _size_in_python(part.slice(number, 1))
        if size > LARGEST_ROW:
            raise DataError(
                f"{path}: a row takes {size:,} bytes of memory", f"wanted rows of at most {LARGEST_ROW:,} bytes"
            )


def _size_in_python(batch: Any) -> tuple[int, int]:
    """Return the bytes of a batch's repeated texts and of the values in its lists, and those of the texts alone."""
    import pyarrow
    import pyarrow.compute

    values = repeated = 0
    arrays = [(array, False) for array in batch.columns]
    while arrays:
        array, is_listed = arrays.pop()
        if isinstance(array, pyarrow.DictionaryArray):
            lengths = pyarrow.compute.binary_length(array.dictionary)
            repeated += pyarrow.compute.sum(lengths.take(array.indices)).as_py() or 0
        if isinstance(array, pyarrow.StructArray):
            arrays += [(part, is_listed) for part in array.flatten()]
        elif isinstance(array, pyarrow.MapArray):  # it cannot be flattened
            start, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
            arrays += [(part.slice(start, end - start), True) for part in (array.keys, array.items)]
        elif isinstance(array, pyarrow.ListArray | pyarrow.LargeListArray | pyarrow.FixedSizeListArray):
            arrays.append((array.flatten(), True))
        elif is_listed:
            values += len(array)
    return repeated + _VALUE_BYTES * values, repeated


def _as_python(path: Path, batch: Any) -> list[dict[str, Any]]:
    """Return the rows of a batch. Raises: DataError for a column with a value that Python has no equal for."""
    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            columns[name] = column.to_pylist()
        except (ValueError, ArithmeticError, LookupError) as error:
            # Text that is not UTF-8, a date beyond the year 9999, an unknown time zone.
            raise DataError(
                f"cannot read the column {name!r} of {path}: {one_line(error)}",
                "wanted texts in UTF-8, numbers, and dates of the years 1 to 9999",
            ) from error
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _parquet_rows(path: Path) -> Iterator[tuple[int, object]]:
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            plain, num_rows = file.schema_arrow, _batch_rows(path, file.schema)
        with pyarrow.parquet.ParquetFile(path, read_dictionary=_repeating_columns(path)) as file:
            for number, row in enumerate(_rows_of(path, file.iter_batches(num_rows), plain), start=1):
                yield number, row
    except _parquet_errors() as error:
        raise _no_parquet(path, error) from error
    except READ_ERRORS as error:
        raise cut_short(path, number + 1, error) from error
