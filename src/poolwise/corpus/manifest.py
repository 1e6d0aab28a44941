"""The records of an encoded corpus on disk.

The folder of a corpus::

    manifest.json      Manifest: the model, the output, and the shards; ``is_complete`` once all rows are encoded
    shards/            the shards; those that the manifest does not name are being written or replaced
    rejected.jsonl     one Rejected per line: the rows that were set aside
    ranges.npy         int8 only: the smallest and largest value of each dimension (2 D)
    work/              while a run goes on or after it was interrupted: the records of its finished shards
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from poolwise.errors import ConfigError, DataError, EvalError
from poolwise.records import InsideName, Record, load_record, save_record
from poolwise.storage.fingerprints import fingerprint

Format = Literal["parquet", "npy"]
Dtype = Literal["float32", "float16", "int8", "binary"]
MANIFEST, SHARDS, REJECTED, RANGES, WORK = "manifest.json", "shards", "rejected.jsonl", "ranges.npy", "work"


class Rejected(Record):
    """A row that was set aside, and why. ``line`` is its line or row number from 1; 0 where only its id is known."""

    source: str
    line: int
    id: str | None
    reason: str


class ModelFingerprint(Record):
    """Everything of a model that decides its embeddings. ``name`` is where it came from, and is not compared."""

    name: str
    weights: str
    tokenizer: str
    attention: str
    pooling: str
    prompt: str
    max_tokens: int | None
    precision: str

    @property
    def fingerprint(self) -> str:
        """A hash of 16 digits of all fields but the name."""
        return fingerprint(self.model_dump(exclude={"name"}))


class Output(Record):
    """What a corpus stores of each row. ``dim`` is the width of the embeddings, in numbers."""

    format: Format = "parquet"
    dtype: Dtype = "float32"
    dim: int = Field(ge=1)
    keeps_text: bool = False
    kept: tuple[str, ...] = ()
    chunks: str | None = Field(default=None, description="tokens and overlap of chunks; None for whole texts")
    pools_chunks: bool = Field(default=False, description="the model reads a document whole, and chunks are pooled")


class ShardFile(Record):
    """One file of a shard, below ``shards/``."""

    name: InsideName
    num_bytes: int
    sha256: str


class ShardRecord(Record):
    """One shard: some rows of the corpus, in one file or, with ``npy``, in two."""

    number: int
    num_rows: int = Field(ge=0)
    files: list[ShardFile] = Field(min_length=1, max_length=2)


class Manifest(Record):
    """An encoded corpus: its model, its output and its shards, in the order of their numbers."""

    schema_version: int = 1
    is_complete: bool = False
    model: ModelFingerprint
    fingerprint: str = Field(description="of the model")
    query_prompt: str | None = Field(default=None, description="the model's, when the corpus was first encoded")
    similarity: str | None = Field(default=None, description="that the model was made for: cosine, dot ...")
    output: Output
    ranges_sha256: str | None = Field(default=None, description="of ranges.npy, which int8 embeddings were made with")
    num_rows: int = 0
    num_rejected: int = 0
    shards: list[ShardRecord] = Field(default=[])
    checksum: str = Field(default="", description="on disk: hash of all other fields; none of an older version")

    @property
    def seal(self) -> str:
        """What ``checksum`` must be."""
        return fingerprint(self.model_dump(mode="json", exclude={"checksum"}))


def load_manifest(folder: Path) -> Manifest:
    """Return the manifest of an encoded corpus.

    Raises: DataError where the folder has none, or it cannot be read or was changed.
    """
    if not (folder / MANIFEST).is_file():
        raise DataError(f"{folder} has no {MANIFEST}", "wanted a folder that poolwise encode wrote")
    again = "encode the corpus into a new folder"
    try:
        found = load_record(Manifest, folder / MANIFEST)
    except EvalError as error:
        raise DataError(error.got, hint=again) from error
    if found.checksum not in ("", found.seal):
        raise DataError(f"{folder / MANIFEST} has other contents than when it was written", hint=again)
    return found.model_copy(update={"checksum": ""})


def save_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest with its checksum, whole or not at all."""
    save_record(manifest.model_copy(update={"checksum": manifest.seal}), folder / MANIFEST)


def require_same(folder: Path, found: Manifest, model: ModelFingerprint, output: Output) -> None:
    """Raise ConfigError where a folder was encoded with another model or output; the message names what differs."""
    differing = {"model": differences(found.model, model), "output": differences(found.output, output)}
    if parts := [name for name, of_part in differing.items() if of_part]:
        raise ConfigError(
            f"{folder} was encoded with another {' and '.join(parts)}: {'; '.join(chain(*differing.values()))}",
            "wanted the same, so that all its embeddings can be compared",
            "give the same model and options, or another --out",
        )


def differences(
    before: BaseModel, now: BaseModel, ignored: Collection[str] = ("name",), place: str = "now"
) -> list[str]:
    """Return the fields of two records that differ, such as ``pooling 'mean' there, 'last' now``.

    Args:
        place: what the second record is called.
    """
    new = now.model_dump()
    return [
        f"{name} {_short(old)} there, {_short(new[name])} {place}"
        for name, old in before.model_dump().items()
        if name not in ignored and old != new[name]
    ]


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
