"""Names of files in manifests cannot lead out of their folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from corpus_folder import encode_folder, write_jsonl
from poolwise.corpus.manifest import MANIFEST, load_manifest
from poolwise.errors import DataError
from poolwise.search import build_index, open_index
from poolwise.search.index_record import INDEX, IndexFile, IndexRecord, describe_files
from poolwise.storage.checksums import damages
from poolwise.storage.fingerprints import fingerprint
from poolwise.storage.inside import require_inside

LEAVING = ["../secret", "a/../../secret", "/etc/passwd", "", ".", "..\\secret", "a\0b"]


@pytest.mark.parametrize("name", LEAVING)
def test_a_name_that_leaves_its_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no file below the folder"):
        require_inside(name)


@pytest.mark.parametrize("name", ["a", "a/b.json", "a..b", "..a", ".hidden"])
def test_other_names_are_taken(name: str) -> None:
    assert require_inside(name) == name


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"keep")
    return tmp_path / "secret"


def entry(secret: Path, name: str) -> dict[str, Any]:
    """A file outside, described as a forger would: with its right size and hash."""
    return {"name": name, "num_bytes": 4, "sha256": hashlib.sha256(secret.read_bytes()).hexdigest()}


def test_a_shard_outside_its_corpus_is_never_read(tmp_path: Path, secret: Path) -> None:
    encode_folder(tmp_path / "corpus", [write_jsonl(tmp_path / "in.jsonl", {"a": "one", "b": "two"})])
    path = tmp_path / "corpus" / MANIFEST
    tree = json.loads(path.read_text())
    tree["shards"][0]["files"] = [entry(secret, "../../secret")]
    path.write_text(json.dumps(tree))
    for read in (load_manifest, lambda folder: build_index(folder, tmp_path / "index")):
        with pytest.raises(DataError, match="is no file below the folder"):
            read(tmp_path / "corpus")


def test_a_file_outside_an_index_is_never_read(tmp_path: Path, secret: Path) -> None:
    encode_folder(tmp_path / "corpus", [write_jsonl(tmp_path / "in.jsonl", {"a": "one", "b": "two"})])
    build_index(tmp_path / "corpus", tmp_path / "index").close()
    path = tmp_path / "index" / INDEX
    tree = json.loads(path.read_text())
    tree["files"].append(entry(secret, "../secret"))
    tree["checksum"] = fingerprint({key: value for key, value in tree.items() if key != "checksum"})
    path.write_text(json.dumps(tree))
    with pytest.raises(DataError, match="is no file below the folder"):
        open_index(tmp_path / "index")
    assert all(IndexFile.model_validate(file.model_dump()) for file in describe_files(tmp_path / "index"))
    assert IndexRecord.model_fields["files"]


def test_checksums_of_files_outside_are_damage(tmp_path: Path, secret: Path) -> None:
    known = f"4:{hashlib.sha256(b'keep').hexdigest()}"
    (tmp_path / "run").mkdir()
    assert damages(tmp_path / "run", {"../secret": known, str(secret): known}) == {
        "../secret": "leads out of the folder",
        str(secret): "leads out of the folder",
    }
    assert damages(tmp_path, {"secret": known}) == {}
