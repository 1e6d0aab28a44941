"""The rows and vectors of an encoded corpus, copied into an index."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from poolwise.corpus.manifest import RANGES, SHARDS, Dtype, Manifest, ShardRecord, load_manifest
from poolwise.corpus.shards import is_intact, load_shard
from poolwise.errors import DataError
from poolwise.search.index_record import Similarity
from poolwise.search.stored_rows import RowWriter
from poolwise.search.vectors import VectorWriter
from poolwise.storage.lock import locked

OnRows = Callable[[int, int, str], None]
"""Called with the rows done, all rows, and what is done with them."""


@dataclass(frozen=True)
class Corpus:
    """An encoded corpus: its folder and its manifest."""

    path: Path
    manifest: Manifest

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.manifest.num_rows

    @property
    def dtype(self) -> Dtype:
        """The dtype of the stored vectors."""
        return self.manifest.output.dtype

    def __str__(self) -> str:
        return str(self.path)

    def intact_shards(self) -> Iterator[tuple[ShardRecord, str]]:
        """Yield each shard and its path, after a check of its content. Raises: DataError for a damaged one."""
        for shard in self.manifest.shards:
            place = str(self.path / SHARDS / shard.files[0].name)
            if not is_intact(self.path, shard):
                raise DataError(
                    f"{place} is damaged, truncated or missing",
                    "wanted the shard that the manifest describes",
                    "run poolwise encode again: it encodes those rows again",
                )
            yield shard, place


@contextmanager
def corpora_held(*corpora: Path) -> Iterator[None]:
    """Keep others from changing corpora while they are read; a folder that nobody may write needs no lock.

    Raises: ConfigError where one is being written.
    """
    with ExitStack() as held:
        for corpus in {corpus.resolve() for corpus in corpora}:
            if corpus.is_dir() and os.access(corpus, os.W_OK):
                held.enter_context(locked(corpus))
        yield


def open_corpus(corpus: Path) -> Corpus:
    """Return a corpus that is encoded to its end. Raises: DataError for any other folder."""
    manifest = load_manifest(corpus)
    if not manifest.is_complete:
        raise DataError(f"{corpus} is not encoded to its end", hint="run poolwise encode again: it resumes")
    if manifest.fingerprint != manifest.model.fingerprint:
        raise DataError(
            f"{corpus} names two models: fingerprint {manifest.fingerprint} and {manifest.model.fingerprint}",
            "wanted the embeddings of one model",
            "encode the corpus again into a new folder",
        )
    if (found := sum(shard.num_rows for shard in manifest.shards)) != manifest.num_rows:
        raise DataError(
            f"{corpus} has {manifest.num_rows:,} rows by its manifest, and its shards have {found:,}",
            hint="encode the corpus again into a new folder",
        )
    if not manifest.num_rows:
        raise DataError(f"{corpus} has no rows", "wanted an encoded corpus with rows")
    return Corpus(corpus, manifest)


def copy_rows(corpus: Corpus, to: Path, similarity: Similarity, report: OnRows) -> None:
    """Copy rows and vectors of all shards. Raises: DataError for a shard that is damaged or of another model."""
    output, done = corpus.manifest.output, 0
    ranges = corpus.path / RANGES if output.dtype == "int8" else None
    with (
        VectorWriter(to, len(corpus), output.dim, output.dtype, similarity, ranges) as vectors,
        RowWriter(to) as rows,
    ):
        for shard, place in corpus.intact_shards():
            table, matrix = load_shard(corpus.path, shard)
            vectors.add(matrix, place)
            rows.add(table, place)
            done += len(matrix)
            report(done, len(corpus), "rows copied")
