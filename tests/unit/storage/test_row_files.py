"""Parquet files with values that Python has no equal for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poolwise.errors import DataError
from poolwise.storage.row_files import iter_rows, num_parquet_rows


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


def test_a_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"wordy": ["a", "a"]}), path)
    path.write_bytes(path.read_bytes().replace(b"wordy", b"word\xff"))
    for read in (lambda: list(iter_rows(path)), lambda: num_parquet_rows(path)):
        with pytest.raises(DataError, match=r"cannot read .*a\.parquet: .* can't decode"):
            read()


def test_a_file_that_says_two_things_about_a_column_is_an_error_and_ends_no_process(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None]}), path)
    raw = path.read_bytes()
    # How many values are at each level of lists (none, there are no lists), then how many are null and how many not.
    levels, nulls = b"\x19\x06", b"\x19\x26\x02\x02"
    assert raw.count(levels + nulls) == 1
    path.write_bytes(raw.replace(levels + nulls, nulls + levels))
    code = "import sys; from poolwise.storage.row_files import *; list(iter_rows(Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == 1, done
    assert "DataError: " in done.stderr.splitlines()[-1]
