"""The rows of an index beside their vectors: ids, texts and fields, memory-mapped."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any

from poolwise.errors import DataError, one_line
from poolwise.search.index_record import ROWS

ID, TEXT = "id", "text"
SMALL_BYTES = 64 << 20
"""A file of rows up to this size is checked whole when it is opened: arrow does not check what it reads later, and a
damaged offset there could end the process."""
Row = dict[str, Any]


class StoredRows:
    """The rows of an index by their number, from 0.

    ``columns`` has the names of the columns: ``id``, ``text`` if texts are stored, and the fields.
    """

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa

        path = folder / ROWS
        self._file = pa.memory_map(str(path))
        try:
            self.table = pa.ipc.open_file(self._file).read_all()
            reads_all = path.stat().st_size <= SMALL_BYTES
            self.table.validate(full=reads_all)
            batches = self.table.to_batches()
            for batch in batches:
                batch.validate(full=reads_all)
        except (OSError, ValueError, LookupError, pa.ArrowException) as error:
            self._file.close()
            reason = one_line(error)
            raise DataError(f"cannot read {path}: {reason}", hint="build the index again") from error
        self.columns: list[str] = self.table.column_names
        if ID not in self.columns or len(set(self.columns)) < len(self.columns):
            self._file.close()
            raise DataError(f"{path} has the columns {', '.join(self.columns)}", f"wanted {ID}, once")
        self._starts = [0, *accumulate(batch.num_rows for batch in batches)]
        self._parts = {name: [batch.column(name) for batch in batches] for name in self.columns}

    def __len__(self) -> int:
        return self._starts[-1]

    def rows(self, numbers: Iterable[int]) -> list[Row]:
        """Return some rows, each as column to value; None where a row lacks the field."""
        places = self._places(numbers)
        columns = [self._values(name, places) for name in self.columns]
        return [dict(zip(self.columns, values, strict=True)) for values in zip(*columns, strict=True)]

    def column(self, name: str, numbers: Iterable[int]) -> list[Any]:
        """Return the values of one column of some rows."""
        return self._values(name, self._places(numbers))

    @cached_property
    def places(self) -> dict[str, int]:
        """The number of each row by its id."""
        return {key: number for number, key in enumerate(self.table[ID].to_pylist())}

    def close(self) -> None:
        """Release the file."""
        self._parts = {}
        self._file.close()

    def _places(self, numbers: Iterable[int]) -> list[tuple[int, int]]:
        """Return the batch of each row, and its place there."""
        found = []
        for number in map(int, numbers):
            batch = bisect_right(self._starts, number) - 1
            found.append((batch, number - self._starts[batch]))
        return found

    def _values(self, name: str, places: Sequence[tuple[int, int]]) -> list[Any]:
        parts = self._parts[name]
        try:
            return [parts[batch][place].as_py() for batch, place in places]
        except (IndexError, ValueError) as error:
            # Vectors that are not finite find no row, and damaged text is no UTF-8.
            reason = one_line(error)
            hint = "build it again; poolwise verify names the file"
            raise DataError(f"the index is damaged: {reason}", hint=hint) from error


class RowWriter:
    """Writes the rows of an index, one shard at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ROWS
        self._file = self._path.open("wb")
        self._writer: Any = None

    def add(self, table: Any, place: str) -> None:
        """Write the rows of a shard; ``place`` names it in errors.

        Raises: DataError where its columns are not those of the other shards; OSError where the disk is full.
        """
        import pyarrow as pa

        table = table.drop_columns([name for name in ("digest",) if name in table.column_names]).combine_chunks()
        if self._writer is None:
            self._writer = pa.ipc.new_file(self._file, table.schema)
            self._schema = table.schema
        if table.schema.names != self._schema.names:
            raise DataError(
                f"{place} has the columns {', '.join(table.schema.names)}",
                f"wanted {', '.join(self._schema.names)}, as the other shards have",
                "encode the corpus again",
            )
        try:
            self._writer.write_table(table.cast(self._schema))
        except (ValueError, pa.ArrowException) as error:
            raise DataError(
                f"{place} has columns of other types than the other shards: {one_line(error)}",
                hint="encode the corpus again",
            ) from error

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is not None and error is None:
            self._writer.close()
        self._file.close()


def require_unique(rows: StoredRows, corpus: Path) -> None:
    """Raise DataError where two rows have one id; the message names the first."""
    import pyarrow.compute as pc

    ids = rows.table[ID]
    if pc.count_distinct(ids, mode="all").as_py() == len(ids):
        return
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    raise DataError(
        f"{corpus} has {len(repeated):,} ids more than once, such as {repeated[0]['values'].as_py()!r} "
        f"({repeated[0]['counts'].as_py()} rows)",
        "wanted an id of its own for each row",
        "encode the corpus again: poolwise encode sets repeated ids aside",
    )
