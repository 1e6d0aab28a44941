"""Checksums of files: what is missing, truncated or changed is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from poolwise.storage.checksums import checksums, damages, files_below


@pytest.mark.parametrize(
    ("content", "problem", "quick"),
    [
        (b"abcd", "", ""),
        (None, "is missing", "is missing"),
        (b"", "has 0 bytes instead of 4", "has 0 bytes instead of 4"),
        (b"abc", "has 3 bytes instead of 4", "has 3 bytes instead of 4"),
        (b"abcD", "has other contents than when it was written", ""),
    ],
)
def test_each_damage_is_named(tmp_path: Path, content: bytes | None, problem: str, quick: str) -> None:
    path = tmp_path / "deep" / "a"
    path.parent.mkdir()
    path.write_bytes(b"abcd")
    recorded = checksums(tmp_path, files_below(tmp_path))
    path.unlink() if content is None else path.write_bytes(content)
    assert damages(tmp_path, recorded) == ({"deep/a": problem} if problem else {})
    assert damages(tmp_path, recorded, is_quick=True) == ({"deep/a": quick} if quick else {})


@pytest.mark.parametrize(
    "known", ["", "x", "4", "4:", "x:y", "4:88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031588"]
)
def test_a_damaged_record_matches_no_file(tmp_path: Path, known: str) -> None:
    (tmp_path / "a").write_bytes(b"abcD")
    assert damages(tmp_path, {"a": known}).keys() == {"a"}


def test_a_change_that_keeps_size_and_second_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abcd")
    recorded = checksums(tmp_path, [path])
    assert damages(tmp_path, recorded) == {}
    stat = path.stat()
    path.write_bytes(b"abcD")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert damages(tmp_path, recorded).keys() == {"a"}


def test_hidden_files_belong_to_nobody(tmp_path: Path) -> None:
    for name in (".lock", "b", "a"):
        (tmp_path / name).touch()
    assert [path.name for path in files_below(tmp_path)] == ["a", "b"]
