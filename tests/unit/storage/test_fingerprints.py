"""Fingerprints stay what they were: studies on disk are known again by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolwise.storage import fingerprints
from poolwise.storage.fingerprints import fingerprint, fingerprint_folder, hash_texts


def test_values_of_earlier_versions() -> None:
    assert fingerprint({"b": [1, 2.5, None], "a": "é"}) == "d764fee2563da33e"
    assert fingerprint({"a": "é", "b": [1, 2.5, None]}) == "d764fee2563da33e"
    assert hash_texts(["ab", "c", "\ud83d"])[:16] == "6dc6558afc7adb44"


def test_where_a_text_ends_counts() -> None:
    assert len({hash_texts(texts) for texts in (["ab", "c"], ["a", "bc"], ["c", "ab"], ["abc"], [])}) == 5


def test_a_folder_is_known_by_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "deep" / "b.txt").write_text("two")
    assert fingerprint_folder(tmp_path) == "4a100f793b5dd5ca"
    (tmp_path / "a.txt").write_text("oNe")
    changed = fingerprint_folder(tmp_path)
    (tmp_path / "a.txt").rename(tmp_path / "c.txt")
    assert len({"4a100f793b5dd5ca", changed, fingerprint_folder(tmp_path)}) == 3


def test_of_a_large_file_both_ends_and_the_size_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "WHOLE_FILE_LIMIT", 8)
    monkeypatch.setattr(fingerprints, "SAMPLE", 3)
    found = []
    for text in ("0123456789", "0123xx6789", "x123456789", "012345678x", "0123456789a"):
        (tmp_path / "a").write_text(text)
        found.append(fingerprint_folder(tmp_path))
    assert found[0] == found[1] and len(set(found)) == 4
