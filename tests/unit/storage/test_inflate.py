"""Gzipped files are read with bounded memory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from poolwise.errors import DataError, EvalError, PoolwiseError
from poolwise.foreign.source import first_line, read_text
from poolwise.records import ItemScores, load_record
from poolwise.storage import inflate, json_lines, row_files
from poolwise.storage.inflate import open_binary, read_inflated
from poolwise.storage.json_lines import iter_json_lines
from poolwise.storage.row_files import iter_rows
from poolwise.storage.tables import iter_table

READERS: list[tuple[str, Callable[[Path], Any]]] = [
    ("a.jsonl.gz", lambda path: list(iter_json_lines(path))),
    ("a.csv.gz", lambda path: list(iter_table(path))),
    ("a.txt.gz", read_text),
    ("a.json.gz", lambda path: load_record(ItemScores, path)),
]


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of production, a thousand times smaller, so that the bombs of the tests are small too."""
    monkeypatch.setattr(inflate, "FREE_BYTES", 2**16)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("raw", [b"x" * 2**21, b'{"a": 1}\n' * 2**18])
@pytest.mark.parametrize(("name", "read"), READERS)
def test_a_file_that_inflates_beyond_measure_is_refused(
    tmp_path: Path, name: str, read: Callable[[Path], Any], raw: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(raw))
    with pytest.raises(PoolwiseError, match=rf"{name}.* inflates to more than") as error:
        read(path)
    assert isinstance(error.value, DataError | EvalError)


@pytest.mark.parametrize(("name", "read"), READERS[2:])
def test_a_file_that_is_read_in_one_piece_has_an_absolute_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, read: Callable[[Path], Any]
) -> None:
    monkeypatch.setattr(inflate, "MOST_AT_ONCE", 1000)
    (tmp_path / name).write_bytes(gzip.compress(b"x" * 1001))
    with pytest.raises(PoolwiseError, match=rf"{name}.* inflates to more than 1,000 bytes"):
        read(tmp_path / name)
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"x" * 1000))
    assert len(read_inflated(tmp_path / "b.gz")) == 1000
    (tmp_path / "plain.txt").write_bytes(b"x" * 1001)
    assert len(read_text(tmp_path / "plain.txt")) == 1001
    lines = [f'{{"number": {number}}}' for number in range(200)]
    (tmp_path / "lines.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    assert len(list(iter_json_lines(tmp_path / "lines.jsonl.gz"))) == 200


@pytest.mark.usefixtures("small_limits")
def test_repeated_rows_and_small_files_of_any_ratio_are_read(tmp_path: Path) -> None:
    rows = [{"query": f"q{i % 50}", "positive": "the same text " * 20} for i in range(20_000)]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    assert [row for _, row in iter_json_lines(path)] == rows
    path.write_bytes(gzip.compress(b" " * 2**16))
    assert len(read_inflated(path)) == 2**16


def test_what_is_read_is_what_gzip_reads_from_any_place(tmp_path: Path) -> None:
    raw = bytes(range(256)) * 3000
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(raw[:5000]) + gzip.compress(raw[5000:]))
    with open_binary(path) as file:
        assert file.read(10) == raw[:10]
        assert file.seek(300_000) == 300_000 and file.read(7) == raw[300_000:300_007]
        assert file.seek(0) == 0 and file.read() == raw


def test_a_file_without_line_breaks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LONGEST_LINE", 1000)
    path = tmp_path / "a.jsonl"
    path.write_text('"short"\n' + "x" * 5000)
    with pytest.raises(DataError, match=r"a\.jsonl:2: a line of 1,000 bytes or more"):
        list(iter_json_lines(path))
    assert first_line(path) == '"short"\n'


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("has_dictionary", [True, False])
def test_a_parquet_file_that_inflates_beyond_measure_is_refused(tmp_path: Path, has_dictionary: bool) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"query": ["x" * 5000] * 1000, "number": list(range(1000))})
    pyarrow.parquet.write_table(table, path, use_dictionary=has_dictionary, compression="zstd")
    with pytest.raises(DataError, match=r"a\.parquet has [\d,]+ bytes and inflates to more than"):
        list(iter_rows(path))


@pytest.mark.parametrize("limit", [2**26, 100])
def test_parquet_rows_are_the_same_however_few_fit_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(row_files, "FREE_BYTES", limit)
    path = tmp_path / "a.parquet"
    rows = [{"label": "ab"[i % 2] * 30, "text": f"text {i}", "pos": [f"p{i}", "q"], "none": None} for i in range(50)]
    rows[3]["label"] = None
    said = [
        [{"role": "user", "content": f"c{i}"}, {"role": "user", "content": None}] if i % 3 else [] for i in range(50)
    ]
    table = pyarrow.Table.from_pylist(rows).append_column("said", pyarrow.array(said))
    keyed = pyarrow.array([[("k", i), ("l", None)] for i in range(50)], pyarrow.map_(pyarrow.string(), pyarrow.int64()))
    table = table.append_column("keyed", keyed)
    pyarrow.parquet.write_table(table, path)
    assert [row for _, row in iter_rows(path)] == table.to_pylist()


def _list_bomb(path: Path, repeated: pyarrow.Array, count: int) -> None:
    """Write one row whose list repeats one value."""
    values = repeated.take(pyarrow.array([0] * count, pyarrow.int32()))
    lists = pyarrow.ListArray.from_arrays(pyarrow.array([0, count], pyarrow.int32()), values)
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "neg": lists}), path, compression="zstd")


@pytest.mark.parametrize("value", [0, "x" * 40])
def test_repeated_values_in_a_list_of_a_parquet_file_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    path = tmp_path / "a.parquet"
    _list_bomb(path, pyarrow.array([value]), 1_100_000)
    assert path.stat().st_size < 1200
    monkeypatch.setattr(row_files, "_rows_of", None)
    with pytest.raises(DataError, match=r"a\.parquet has [\d,]+ bytes and inflates to more than 67,108,864; wanted"):
        list(iter_rows(path))


def test_repeated_long_texts_in_a_list_are_refused_before_they_are_written_out(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    repeated = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 100_000, pyarrow.int32()), ["x" * 10_000])
    lists = pyarrow.ListArray.from_arrays(pyarrow.array([0, 100_000], pyarrow.int32()), repeated)
    pyarrow.parquet.write_table(pyarrow.table({"neg": lists}), path, store_schema=False)
    with pytest.raises(DataError, match=r"a\.parquet has [\d,]+ bytes and inflates to more than 67,108,864; wanted"):
        list(iter_rows(path))


def test_a_row_that_is_too_large_is_refused_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_files, "LARGEST_ROW", 64 * 100)
    path = tmp_path / "a.parquet"
    lists = [[i] for i in range(50)] + [list(range(101))] + [[i] for i in range(50)]
    pyarrow.parquet.write_table(pyarrow.table({"neg": lists}), path)
    with pytest.raises(DataError, match=r"a\.parquet: a row takes 6,464 bytes of memory; wanted rows of at most 6,400"):
        list(iter_rows(path))
    pyarrow.parquet.write_table(pyarrow.table({"neg": lists[:50]}), path)
    assert [row["neg"] for _, row in iter_rows(path)] == lists[:50]  # type: ignore[index]


def test_rows_that_are_stated_but_not_there_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"none": pyarrow.nulls(2_000_000)}), path)
    assert path.stat().st_size < 4000
    with pytest.raises(DataError, match=r"a\.parquet has [\d,]+ bytes and inflates to more than"):
        list(iter_rows(path))
