"""Parquet files with values that Python has no equal for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poolwise.errors import DataError
from poolwise.storage.row_files import iter_rows


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"\xff"], pa.binary()).view("string"),
        pa.array([2**40], pa.int64()).cast(pa.timestamp("s")),
        pa.array([2**30], pa.int32()).cast(pa.date32()),
        pa.array([2**62], pa.int64()).cast(pa.duration("s")),
        pa.array([0], pa.int64()).cast(pa.timestamp("s", "Nowhere/City")),
    ],
    ids=lambda column: str(column.type),
)
def test_a_value_beyond_python_is_an_error_that_names_its_column(tmp_path: Path, column: Any) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"], "odd": column}), path)
    with pytest.raises(DataError, match=r"cannot read the column 'odd' of .*a\.parquet"):
        list(iter_rows(path))


def test_rows_keep_their_order_and_their_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"b": [1, 2], "a": ["x", None]}), tmp_path / "a.parquet")
    assert list(iter_rows(tmp_path / "a.parquet")) == [(1, {"b": 1, "a": "x"}), (2, {"b": 2, "a": None})]


def test_a_column_that_the_schema_lacks_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"wordy": ["a", "a"]}), path)
    raw = path.read_bytes()
    place = raw.rindex(b"wordy")  # in the description of its pages, after that of the schema
    path.write_bytes(raw[:place] + b"wordz" + raw[place + 5 :])
    with pytest.raises(DataError, match=r"cannot read .*a\.parquet"):
        list(iter_rows(path))
