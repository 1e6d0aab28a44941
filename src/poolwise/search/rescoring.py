"""Rescoring: an index of compressed vectors scores its candidates again with the full vectors of the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from poolwise.corpus.manifest import Dtype, differences
from poolwise.corpus.shards import load_key_table, load_shard
from poolwise.errors import ConfigError, DataError
from poolwise.search.corpus_rows import Corpus, OnRows
from poolwise.search.index_record import Similarity
from poolwise.search.vectors import VectorWriter

BITS: dict[Dtype, int] = {"float32": 32, "float16": 16, "int8": 8, "binary": 1}
OVERSAMPLE: dict[Dtype, int] = {"float16": 2, "int8": 4, "binary": 16}
"""Times k candidates that are rescored, unless the user or the backend asks for more.

With 1,500 embeddings of ``poolwise/nano``, recall at 10 is 0.99 and 1 for int8 with 1 and 2 times k candidates, and
0.43, 0.93 and 0.98 for binary with 1, 8 and 16: ``poolwise eval --index INDEX --sweep oversample=1,2,8,16``.
"""
_OF_STORAGE = ("format", "dtype", "keeps_text")
"""Parts of the output that may differ between a corpus and the full vectors of its rows."""


def require_full(corpus: Corpus, full: Corpus) -> None:
    """Raise ConfigError where vectors are not more precise than a corpus's, or of another model, width or input."""
    mine, theirs = corpus.manifest, full.manifest
    if BITS[full.dtype] <= BITS[corpus.dtype] or full.dtype == "int8":
        raise ConfigError(
            f"--rescore {full} has {full.dtype} vectors, and {corpus} has {corpus.dtype}",
            "wanted float32 or float16, more precise than those that are searched",
            "leave --rescore out, or encode the rows with --dtype float32 too",
        )
    differing = differences(mine.model, theirs.model, place="here")
    differing += differences(mine.output, theirs.output, _OF_STORAGE, place="here")
    if len(corpus) != len(full):
        differing.append(f"{len(corpus):,} rows there, {len(full):,} here")
    if differing:
        raise ConfigError(
            f"--rescore {full} is not {corpus} in full precision: {'; '.join(differing)}",
            "wanted the same rows, encoded by the same model with the same options",
            "encode the same input with --dtype float32 into another folder",
        )


def copy_full(corpus: Corpus, full: Corpus, to: Path, similarity: Similarity, report: OnRows) -> None:
    """Copy full vectors into a new folder, in the order of the rows of the corpus, whose shards were checked.

    Raises: DataError where the rows are not those of the corpus, or a shard is damaged.
    """
    to.mkdir()
    shards = list(full.intact_shards())
    places, done = _places(corpus, full), 0
    output = full.manifest.output
    with VectorWriter(to, len(full), output.dim, output.dtype, similarity, None) as vectors:
        for shard, place in shards:
            _, matrix = load_shard(full.path, shard)
            vectors.add(matrix, place, places[done : done + len(matrix)])
            done += len(matrix)
            report(done, len(full), "full vectors copied")


def _places(corpus: Corpus, full: Corpus) -> Int[np.ndarray, " N"]:
    """Return the number in the corpus of each row of the full vectors: after updates their orders may differ.

    Raises: DataError where one has a row that the other lacks, or a row has another text.
    """
    import pyarrow.compute as pc

    mine, theirs = _keys(corpus), _keys(full)
    found = pc.index_in(theirs["id"], value_set=mine["id"])
    unknown = theirs["id"].filter(pc.is_null(found))
    missing = mine["id"].filter(pc.is_null(pc.index_in(mine["id"], value_set=theirs["id"])))
    changed = [] if len(unknown) else theirs["id"].filter(pc.not_equal(theirs["digest"], mine["digest"].take(found)))
    said = [
        f"{len(rows):,} rows {what}, such as {rows[0].as_py()!r}"
        for rows, what in (
            (unknown, "that the corpus lacks"),
            (missing, "of the corpus are missing"),
            (changed, "with another text or other kept fields"),
        )
        if len(rows)
    ]
    if said:
        raise DataError(
            f"--rescore {full} has other rows than {corpus}: {'; '.join(said)}",
            "wanted the same rows",
            "run poolwise encode with the same input for both folders",
        )
    return np.asarray(found.to_numpy(), np.int64)


def _keys(corpus: Corpus) -> Any:
    """Return ids and digests of all rows as an arrow table."""
    import pyarrow as pa

    return pa.concat_tables([load_key_table(corpus.path, shard) for shard in corpus.manifest.shards])
