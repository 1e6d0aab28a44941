"""Fingerprints stay what they were: studies on disk are known again by them."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from poolwise.storage import fingerprints
from poolwise.storage.fingerprints import file_hash, fingerprint, fingerprint_folder, hash_texts


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


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, reads = tmp_path / "a", []
    original = fingerprints.hashlib.file_digest
    monkeypatch.setattr(fingerprints.hashlib, "file_digest", lambda *args: reads.append(1) or original(*args))
    path.write_text("one")
    first = [fingerprint_folder(tmp_path) for _ in range(3)]
    assert len(set(first)) == 1 and len(reads) == 1
    path.write_text("three")
    assert fingerprint_folder(tmp_path) != first[0] and len(reads) == 2


def test_a_card_is_not_part_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = fingerprint_folder(tmp_path)
    for name in ("README.md", "card.yaml"):
        (tmp_path / name).write_text("written after the evaluation")
    assert fingerprint_folder(tmp_path) == before


def test_no_path_is_kept_of_a_hashed_file(tmp_path: Path) -> None:
    # A process that runs study after study hashes new files each time, and a Path takes more than all else.
    def count() -> int:
        gc.collect()
        return sum(isinstance(one, Path) for one in gc.get_objects())

    before = count()
    for number in range(100):
        (tmp_path / f"{number}.json").write_text("x")
        file_hash(tmp_path / f"{number}.json")
    assert count() < before + 50
