"""CSV and TSV: rows of text by column, and one clear error for a broken table."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from poolwise.errors import DataError
from poolwise.storage.json_lines import Unreadable
from poolwise.storage.row_files import iter_rows
from poolwise.storage.tables import iter_table


def write(path: Path, text: str | bytes) -> Path:
    raw = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "q,p\none,two\n"),
        ("a.csv", "\ufeffq,p\r\none,two\r\n"),
        ("a.csv", "q;p\none;two"),
        ("a.csv.gz", ' q , p \n"one",two\n\n'),
        ("a.tsv", "q\tp\none\ttwo\n"),
        ("a.tsv.gz", "\ufeffq\tp\n,,\n\t\none\ttwo\n"[:5] + "one\ttwo\n"),
    ],
)
def test_delimiters_marks_and_compression(tmp_path: Path, name: str, text: str) -> None:
    assert list(iter_rows(write(tmp_path / name, text))) == [(2, {"q": "one", "p": "two"})]


def test_quoted_cells_hold_anything_and_a_row_is_numbered_by_its_first_line(tmp_path: Path) -> None:
    text = 'q,p\n"a, ""b""\nc",d\n\n,\nlast, x \n'
    assert list(iter_table(write(tmp_path / "a.csv", text))) == [
        (2, {"q": 'a, "b"\nc', "p": "d"}),
        (6, {"q": "last", "p": " x "}),
    ]


def test_an_empty_cell_is_none_and_a_column_without_a_name_is_left_out(tmp_path: Path) -> None:
    assert list(iter_table(write(tmp_path / "a.csv", ",q,p\n0,one,\n1, ,two\n"))) == [
        (2, {"q": "one", "p": None}),
        (3, {"q": None, "p": "two"}),
    ]


def test_a_row_of_another_length_is_unreadable(tmp_path: Path) -> None:
    rows = list(iter_table(write(tmp_path / "a.csv", "q,p\none\na,b\n1,2,3\n")))
    assert rows == [
        (2, Unreadable("1 cells, the header has 2")),
        (3, {"q": "a", "p": "b"}),
        (4, Unreadable("3 cells, the header has 2")),
    ]


def test_a_long_document_is_one_cell_and_others_keep_their_limit(tmp_path: Path) -> None:
    limit = 131_072  # the csv module's own
    csv.field_size_limit(limit)
    ((_, row),) = iter_table(write(tmp_path / "a.csv", f"q,p\n{'x' * 200_000},two\n"))
    assert isinstance(row, dict) and row["q"] == "x" * 200_000
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("text", ["", "q,p\n"])
def test_no_rows(tmp_path: Path, text: str) -> None:
    assert list(iter_table(write(tmp_path / "a.csv", text))) == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"q,p\na,\xe9\n", r"a\.csv:\d: not UTF-8.*CSV UTF-8"),
        ("q,p\n".encode("utf-16"), "not UTF-8"),
        (b'q,p\na,b\n"open,c\nd,e\n', r"a\.csv:3: unexpected end of data; wanted every quote closed"),
        (b'q,p\n"a" b,c\n', r"a\.csv:2: .*expected after"),
        (b"q,p,q\na,b,c\n", "two columns 'q'"),
    ],
)
def test_broken_tables(tmp_path: Path, raw: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(iter_table(write(tmp_path / "a.csv", raw)))


def test_a_table_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv.gz", "q,p\none,two\n")
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(DataError, match="cannot be read further"):
        list(iter_table(path))
