"""Stored forms of embeddings, by hand and against sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corpus_folder import encode_folder, write_jsonl
from poolwise.corpus.manifest import load_manifest
from poolwise.corpus.quantise import find_ranges, from_int8, require_width, to_stored
from poolwise.corpus.shards import load_shard
from poolwise.errors import ConfigError


def test_int8_by_hand() -> None:
    ranges = np.array([[-1, 0, 2], [1, 255, 2]], np.float32)
    vectors = np.array([[-1, 0, 2], [1, 255, 3], [-9, 100, 1]], np.float32)
    stored = to_stored(vectors, "int8", ranges)
    # A dimension with one value has steps of 1; values beyond the range are clipped, not wrapped.
    assert stored.tolist() == [[-128, -128, -128], [127, 127, -127], [-128, -28, -128]]
    assert from_int8(stored[:2, :2], ranges[:, :2]).tolist() == [[-1, 0], [1, 255]]


def test_int8_is_at_most_half_a_level_off_within_its_ranges() -> None:
    vectors = np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32)
    ranges = find_ranges(vectors)
    error = np.abs(from_int8(to_stored(vectors, "int8", ranges), ranges) - vectors)
    assert (error <= (ranges[1] - ranges[0]) / 255 / 2 + 1e-5).all()


def test_binary_is_that_of_sentence_transformers() -> None:
    vectors = np.random.default_rng(0).standard_normal((5, 24)).astype(np.float32)
    bits = np.unpackbits(to_stored(vectors, "binary"), axis=1)
    assert (bits == (vectors > 0)).all()
    with pytest.raises(ConfigError, match="binary with 12 dimensions"):
        require_width("binary", 12)


def test_a_row_does_not_depend_on_the_others() -> None:
    vectors = np.random.default_rng(1).standard_normal((9, 8)).astype(np.float32)
    ranges = find_ranges(vectors[:3])
    for dtype in ("float16", "int8", "binary"):
        whole = to_stored(vectors, dtype, ranges)
        assert all((to_stored(vectors[place : place + 1], dtype, ranges) == whole[place]).all() for place in range(9))


@pytest.mark.parametrize("format_", ["parquet", "npy"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "binary"])
def test_shards_keep_the_stored_form(tmp_path: Path, format_: str, dtype: str) -> None:
    import pyarrow as pa

    out = tmp_path / "out"
    encode_folder(out, [write_jsonl(tmp_path / "c.jsonl", {"a": "one", "b": "two"})], format=format_, dtype=dtype)
    (shard,) = load_manifest(out).shards
    table, matrix = load_shard(out, shard)
    wanted = {"float32": (np.float32, 8), "float16": (np.float16, 8), "binary": (np.uint8, 1)}[dtype]
    assert (matrix.dtype, matrix.shape) == (wanted[0], (2, wanted[1]))
    assert table.column_names == ["id", "digest"]
    if format_ == "parquet":
        import pyarrow.parquet as pq

        column = pq.read_schema(out / "shards" / shard.files[0].name).field("embedding").type
        assert column == pa.list_(pa.from_numpy_dtype(wanted[0]), wanted[1])
