"""Shards: some rows and their embeddings, written whole or not at all, and read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolwise.corpus.manifest import SHARDS, Output, ShardFile, ShardRecord
from poolwise.corpus.rows import Row
from poolwise.errors import DataError, one_line
from poolwise.storage.arrays import load_array
from poolwise.storage.fingerprints import file_hash, hash_texts
from poolwise.storage.whole_files import whole_file

EMBEDDING = "embedding"


def rows_table(rows: Sequence[Row], output: Output) -> Any:
    """Return the columns of rows as an arrow table, without their embeddings.

    They are ``id`` and ``digest``, then ``text`` if it is kept, the kept fields, and of a chunk its place:
    ``document``, ``chunk`` (its number), ``start_char``, ``end_char``, ``start_token``, ``end_token``.
    """
    import pyarrow as pa

    columns = {"id": pa.array([row.id for row in rows], pa.string())}
    columns["digest"] = pa.array([row.digest for row in rows], pa.string())
    if output.keeps_text:
        columns["text"] = pa.array([row.text for row in rows], pa.large_string())
    for place, name in enumerate(output.kept):
        columns[name] = pa.array([row.kept[place] for row in rows], pa.large_string())
    if output.chunks is not None:
        spans = [row.span for row in rows if row.span is not None]
        columns["document"] = pa.array([span.document for span in spans], pa.string())
        for name in ("chunk", "start_char", "end_char", "start_token", "end_token"):
            columns[name] = pa.array([getattr(span, name) for span in spans], pa.int32())
    return pa.table(columns)


def save_shard(folder: Path, number: int, table: Any, matrix: NDArray[Any], output: Output) -> ShardRecord:
    """Write a shard below ``shards/`` and return its record.

    Its name holds a hash of its rows, so that a shard is never replaced by one with other rows, which readers of the
    last manifest may still need.

    Args:
        matrix: the stored embeddings, one row per row of the table.
    Law: equal rows and embeddings give equal bytes.
    """
    keys = hash_texts([*table["id"].to_pylist(), *table["digest"].to_pylist()])[:8]
    stem = folder / SHARDS / f"{number:05d}-{keys}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_suffix(f".{output.format}")]
    if output.format == "npy":
        paths.append(stem.with_suffix(".rows.parquet"))
        _write_matrix(paths[0], matrix)
        _write_table(paths[1], table)
    else:
        _write_table(paths[0], table.append_column(EMBEDDING, _fixed_size_lists(matrix)))
    files = [ShardFile(name=path.name, num_bytes=path.stat().st_size, sha256=file_hash(path)) for path in paths]
    return ShardRecord(number=number, num_rows=len(matrix), files=files)


def load_shard(folder: Path, shard: ShardRecord) -> tuple[Any, NDArray[Any]]:
    """Return the rows of a shard as an arrow table, and their embeddings as they are stored (N D).

    Raises: DataError where a file is missing, not readable, or not as ``save_shard`` writes it.
    """
    paths = [folder / SHARDS / file.name for file in shard.files]
    table = _read_table(paths[-1])
    try:
        if len(paths) == 2:
            matrix = load_array(paths[0])
        else:
            table, matrix = _split(table)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {paths[0]}: {one_line(error)}") from error
    if matrix.ndim != 2 or not len(matrix) == len(table) == shard.num_rows:
        raise DataError(
            f"{paths[-1]} has {len(table):,} rows, and embeddings of shape {matrix.shape}",
            f"wanted {shard.num_rows:,} of each, as the manifest says",
        )
    return table, matrix


def _split(table: Any) -> tuple[Any, NDArray[Any]]:
    import pyarrow as pa

    if EMBEDDING not in table.column_names or not pa.types.is_fixed_size_list(table.schema.field(EMBEDDING).type):
        raise ValueError(f"it has no column {EMBEDDING} of lists of one size")
    lists = table[EMBEDDING].combine_chunks()
    flat = lists.flatten()
    if lists.null_count or flat.null_count or len(flat) != len(lists) * lists.type.list_size:
        raise ValueError(f"the column {EMBEDDING} has empty places")
    width = lists.type.list_size
    return table.drop_columns([EMBEDDING]), flat.to_numpy(zero_copy_only=False).reshape(-1, width)


def _read_table(path: Path, columns: list[str] | None = None) -> Any:
    """Return a table of rows. Raises: DataError where it is not readable, or has other columns than rows have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # One thread: a shard is read while the model computes.
        table = pq.read_table(path, columns=columns, use_threads=False)
        table.validate(full=True)
    except (OSError, ValueError, LookupError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {one_line(error)}") from error
    names, types = table.column_names, dict(zip(table.column_names, table.schema.types, strict=True))
    known = (pa.string(), pa.large_string(), pa.int32())
    wrong = [name for name, kind in types.items() if name != EMBEDDING and kind not in known]
    texts = [name for name in ("id", "digest") if types.get(name) != pa.string() or table[name].null_count]
    if wrong or texts or len(types) < len(names):
        raise DataError(
            f"{path} has the columns {', '.join(f'{name} ({kind})' for name, kind in types.items()):.500}",
            "wanted id and digest, and texts or whole numbers",
            "encode the corpus again",
        )
    return table


def load_keys(folder: Path, shard: ShardRecord) -> tuple[list[str], list[str]]:
    """Return the ids and the digests of a shard's rows. Raises: DataError as ``load_shard``."""
    table = load_key_table(folder, shard)
    return table["id"].to_pylist(), table["digest"].to_pylist()


def load_key_table(folder: Path, shard: ShardRecord) -> Any:
    """Return the columns ``id`` and ``digest`` of a shard as an arrow table. Raises: DataError as ``load_shard``."""
    return _read_table(folder / SHARDS / shard.files[-1].name, ["id", "digest"])


def is_intact(folder: Path, shard: ShardRecord) -> bool:
    """Return whether every file of a shard is there and has the bytes that were written."""
    paths = [(folder / SHARDS / file.name, file) for file in shard.files]
    return all(
        path.is_file() and path.stat().st_size == file.num_bytes and file_hash(path) == file.sha256
        for path, file in paths
    )


def _fixed_size_lists(matrix: NDArray[Any]) -> Any:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(matrix).reshape(-1)), matrix.shape[1])


def _write_table(path: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    # Embeddings are noise to a compressor: it would take time and save little.
    codecs = {name: "zstd" for name in table.column_names if name != EMBEDDING}
    codecs |= {f"{EMBEDDING}.list.element": "none"} if EMBEDDING in table.column_names else {}
    with whole_file(path) as file:
        pq.write_table(table, file, compression=codecs, use_dictionary=False)


def _write_matrix(path: Path, matrix: NDArray[Any]) -> None:
    matrix = np.ascontiguousarray(matrix)
    with whole_file(path) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(matrix))
        # Not np.save, whose error for a full disk does not say that it is full.
        file.write(matrix.data.cast("B") if matrix.size else b"")
