"""Lines and JSON lines: each with its number, or with the reason why it cannot be read."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from poolwise.errors import DataError
from poolwise.storage.json_lines import Unreadable, iter_json_lines, iter_lines


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_plain_and_gzipped_lines_keep_their_numbers(tmp_path: Path, name: str) -> None:
    raw = b'\xef\xbb\xbf{"a": 1}\r\n\n  \n[2]\n"\xff"\n{oops\n3'
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    assert list(iter_json_lines(tmp_path / name)) == [
        (1, {"a": 1}),
        (4, [2]),
        (5, Unreadable("not UTF-8: invalid start byte")),
        (6, Unreadable("not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)")),
        (7, 3),
    ]
    assert list(iter_lines(tmp_path / name))[:2] == [(1, '{"a": 1}'), (4, "[2]")]


def test_a_file_cut_short_says_where(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"1\n2\n3\n")[:-4])
    found = []
    with pytest.raises(DataError, match=r"a\.jsonl\.gz:4: cannot be read further: .*; is the file whole\?"):
        found.extend(iter_json_lines(path))
    assert found == [(1, 1), (2, 2), (3, 3)]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        list(iter_lines(tmp_path / "none"))
