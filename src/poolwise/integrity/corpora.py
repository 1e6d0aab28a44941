"""The check of encoded corpora and indexes."""

from __future__ import annotations

from pathlib import Path

from poolwise.corpus.manifest import MANIFEST, RANGES, REJECTED, SHARDS, WORK, Manifest, load_manifest
from poolwise.errors import DataError, EvalError
from poolwise.integrity.verified import Verified, compare_files
from poolwise.records import load_record
from poolwise.search.index_record import INDEX, IndexRecord
from poolwise.storage.fingerprints import file_hash


def verify_corpus(folder: Path) -> Verified:
    """Compare the shards of an encoded corpus with its manifest, and the manifest with its own checksum."""
    again = "run the same poolwise encode again: it encodes the rows of damaged shards anew"
    try:
        manifest = load_manifest(folder)
    except DataError as error:
        return compare_files(
            "encoded corpus",
            folder,
            {},
            "encode the corpus into a new folder: without its manifest, no shard can be used",
            damaged={MANIFEST: error.got.removeprefix(f"{folder / MANIFEST} ")},
            known={SHARDS, WORK, REJECTED, RANGES},
        )
    recorded = {
        f"{SHARDS}/{file.name}": f"{file.num_bytes}:{file.sha256}" for shard in manifest.shards for file in shard.files
    }
    known, notes = {MANIFEST, REJECTED, WORK}, []
    if not manifest.is_complete:
        known.add(SHARDS)
        notes = ["the corpus is not complete: the same poolwise encode resumes"]
    return compare_files(
        "encoded corpus",
        folder,
        recorded,
        again,
        damaged=_damaged_beside(folder, manifest),
        known={*known, *([RANGES] if manifest.ranges_sha256 else [])},
        notes=notes,
    )


def _damaged_beside(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Return what is wrong with the files beside the shards: the ranges of int8, and the rows that were set aside."""
    found = {}
    ranges = folder / RANGES
    if manifest.ranges_sha256 and not (ranges.is_file() and file_hash(ranges) == manifest.ranges_sha256):
        found[RANGES] = "is missing or has other contents than when it was written"
    if manifest.is_complete and (lines := _num_lines(folder / REJECTED)) != manifest.num_rejected:
        found[REJECTED] = f"has {lines} rows instead of {manifest.num_rejected}"
    return found


def _num_lines(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def verify_index(folder: Path) -> Verified:
    """Compare the files of an index with its record, and the record with its own checksum."""
    try:
        record = load_record(IndexRecord, folder / INDEX)
        problem = "" if record.checksum == record.seal else "has other contents than when it was written"
    except EvalError:
        problem = "cannot be read as the record of an index"
    if problem:
        again = f"build the index again: poolwise index CORPUS --out {folder}"
        known = {path.name for path in folder.iterdir()}
        return compare_files("index", folder, {}, again, damaged={INDEX: problem}, known=known)
    recorded = {file.name: f"{file.num_bytes}:{file.sha256}" for file in record.files}
    again = f"build the index again: poolwise index {record.corpus} --out {folder}"
    return compare_files("index", folder, recorded, again, known={INDEX})
