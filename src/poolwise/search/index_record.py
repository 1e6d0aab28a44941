"""The record of an index on disk.

The folder of an index::

    index.json      IndexRecord: the model, how vectors are compared, the backend, and every other file
    rows.arrow      ids, stored texts and fields, in the order of the rows
    vectors.npy     the vectors (N D), in the dtype of the corpus
    scales.npy      cosine of float16, int8 and binary vectors only: the factor that makes each of length 1 (N)
    ranges.npy      int8 only: the smallest and largest value of each dimension (2 D)
    full/           with rescoring only: ``vectors.npy`` and ``scales.npy`` of the full vectors of the same rows
    backend/        what the backend needs beside that
    words/          hybrid search only: the index of words
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from poolwise.corpus.manifest import Dtype, ModelFingerprint
from poolwise.errors import DataError, EvalError
from poolwise.records import InsideName, Record, load_record, save_record
from poolwise.storage.fingerprints import file_hash, fingerprint

INDEX, ROWS, VECTORS, SCALES, RANGES = "index.json", "rows.arrow", "vectors.npy", "scales.npy", "ranges.npy"
BACKEND, WORDS, FULL = "backend", "words", "full"
Similarity = Literal["cosine", "dot"]
_AGAIN = "build the index again: poolwise index CORPUS --out"


class IndexFile(Record):
    """One file of an index. ``name`` is its path below the index's folder."""

    name: InsideName
    num_bytes: int
    sha256: str


class Recall(Record):
    """The recall of an index, measured against exact search with its full vectors when it was built."""

    k: int
    value: float = Field(description="share of the k nearest that were found, mean over the queries")
    num_queries: int
    queries: Literal["given", "documents"] = Field(description="documents: rows of the index, each without itself")


class FullVectors(Record):
    """The full vectors with which candidates are scored: from which corpus they were copied, and their dtype."""

    corpus: str
    dtype: Dtype


class IndexRecord(Record):
    """An index: whose vectors it holds, how they are compared, and how they are searched.

    Law: ``checksum`` is the hash of all other fields.
    """

    schema_version: int = 1
    name: str = Field(description="16 digits that no other index has")
    corpus: str = Field(description="the folder that was indexed")
    model: ModelFingerprint
    fingerprint: str = Field(description="of the model")
    query_prompt: str | None = Field(description="put before every query; None takes the model's own")
    is_prompt_given: bool = Field(default=False, description="the prompt was given, and need not be the model's own")
    similarity: Similarity
    dim: int
    dtype: Dtype
    num_rows: int
    keeps_text: bool
    fields: tuple[str, ...] = Field(description="columns of the rows beside id and text")
    backend: str
    asked: str = Field(description="the backend that was asked for, such as auto")
    settings: dict[str, Any] = Field(description="of the backend, all of them")
    reason: str = Field(default="", description="why this backend was chosen")
    has_words: bool = Field(default=False, description="hybrid search is possible")
    rescore: FullVectors | None = Field(default=None, description="None: the vectors that are searched score rows too")
    recall: Recall | None = Field(default=None, description="None for exact search")
    files: list[IndexFile]
    checksum: str = ""

    @property
    def seal(self) -> str:
        """What ``checksum`` must be."""
        return fingerprint(self.model_dump(mode="json", exclude={"checksum"}))


def save_index_record(record: IndexRecord, folder: Path) -> None:
    """Write the record with its checksum, whole or not at all."""
    save_record(record.model_copy(update={"checksum": record.seal}), folder / INDEX)


CHECKED_BYTES = 256 << 20
"""An index up to this size is read through when it is opened: a few tenths of a second."""


def load_index_record(folder: Path, *, reads_all: bool | None = False) -> IndexRecord:
    """Return the record of an index whose files are all there.

    Args:
        reads_all: compare the content of every file with its checksum; otherwise only its size. None: the content if
            all files together have at most ``CHECKED_BYTES``.
    Raises: DataError where the folder is no index, or the record or a file is damaged; the message names it.
    """
    path = folder / INDEX
    if not path.is_file():
        raise DataError(f"{folder} has no {INDEX}", "wanted a folder that poolwise index wrote")
    try:
        record = load_record(IndexRecord, path)
    except EvalError as error:
        raise DataError(error.got, hint=f"{_AGAIN} {folder}") from error
    if record.checksum != record.seal:
        raise DataError(
            f"{path} was changed or is damaged: its content does not have its checksum {record.checksum!r}",
            f"wanted {record.seal!r}",
            f"{_AGAIN} {folder}",
        )
    if reads_all is None:
        reads_all = sum(file.num_bytes for file in record.files) <= CHECKED_BYTES
    for file in record.files:
        if why := _damage(folder / file.name, file, reads_all):
            raise DataError(f"{folder / file.name} is {why}", hint=f"{_AGAIN} {folder}")
    return record


def describe_files(folder: Path) -> list[IndexFile]:
    """Return an entry for each file below a folder, sorted by name."""
    return [
        IndexFile(name=path.relative_to(folder).as_posix(), num_bytes=path.stat().st_size, sha256=file_hash(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _damage(path: Path, file: IndexFile, reads_all: bool) -> str:
    if not path.is_file():
        return "missing"
    if (size := path.stat().st_size) != file.num_bytes:
        return f"truncated or changed: {size:,} bytes, not {file.num_bytes:,}"
    return "damaged: its content does not have its checksum" if reads_all and file_hash(path) != file.sha256 else ""
