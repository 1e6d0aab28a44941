"""The vectors of an index: on disk in the dtype of the corpus, memory-mapped, read as float32 in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from poolwise.corpus.manifest import Dtype
from poolwise.corpus.quantise import from_int8, int8_line
from poolwise.errors import DataError
from poolwise.search.index_record import RANGES, SCALES, VECTORS, Similarity
from poolwise.storage.arrays import load_array

BLOCK_ROWS = 8192
"""Rows that are read at a time: 12 MB at 384 numbers, which stays in a large cache."""
CONVERTED_ROWS = 2048
"""Rows that are converted to float32 at a time: 3 MB at 384 numbers, which stays near the core."""
_AGAIN = "build the index again, and if that fails encode the corpus again"
STORED: dict[Dtype, Any] = {"float32": np.float32, "float16": np.float16, "int8": np.int8, "binary": np.uint8}


class Vectors:
    """N vectors of D numbers, memory-mapped.

    Args:
        folder: of the index.
    Law: with cosine similarity every vector that is not 0 has length 1, so that a dot product is its cosine.
    """

    def __init__(self, folder: Path, dtype: Dtype, dim: int) -> None:
        self._dtype, self.dim = dtype, dim
        width = dim // 8 if dtype == "binary" else dim
        self._raw = _load(folder / VECTORS, STORED[dtype], (None, width), is_mapped=True)
        has_scales, shape = (folder / SCALES).is_file(), (len(self._raw),)
        self._scales = _load(folder / SCALES, np.float32, shape, is_mapped=True) if has_scales else None
        self._ranges = _load(folder / RANGES, np.float32, (2, dim)) if dtype == "int8" else None
        self._line = _line(dtype, dim, self._ranges)

    def __len__(self) -> int:
        return len(self._raw)

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[tuple[int, Float[np.ndarray, "n D"]]]:
        """Yield (number of the first row, vectors in float32) of so many rows at a time."""
        for start in range(0, len(self), size):
            yield start, self._decoded(slice(start, start + size))

    @property
    def plain(self) -> Float[np.ndarray, "N D"] | None:
        """All vectors, memory-mapped, where they are stored as they are compared; else None."""
        return self._raw if self._dtype == "float32" and self._scales is None else None

    def block_rows(self, most: int) -> int:
        """Return how many rows are best compared at a time, up to ``most``: few where a block must be converted."""
        return most if self._dtype == "float32" else min(most, CONVERTED_ROWS)

    def scores(
        self, queries: Float[np.ndarray, "Q D"], rows: slice | Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "Q n"]:
        """Return the dot products of queries with some rows."""
        raw = self._raw[rows]
        numbers = np.unpackbits(raw, axis=1) if self._dtype == "binary" else raw
        if self._line is None:
            found = queries @ numbers.astype(np.float32, copy=False).T
        else:
            # A number stands for step x number + offset. Queries are multiplied, not rows, which are more.
            steps, offsets = self._line
            found = (queries * steps) @ numbers.astype(np.float32).T + (queries @ offsets)[:, None]
        return found if self._scales is None else found * self._scales[rows]

    def take(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n D"]:
        """Return the vectors of some rows, in their order, in float32."""
        return self._decoded(rows)

    def _decoded(self, rows: slice | NDArray[np.int64]) -> Float[np.ndarray, "n D"]:
        found = decode(self._raw[rows], self._dtype, self._ranges)
        return found if self._scales is None else found * self._scales[rows][:, None]


def _line(dtype: Dtype, dim: int, ranges: NDArray[np.float32] | None) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return step and offset of what stored numbers stand for; None where they stand for themselves."""
    if dtype == "binary":
        return np.full(dim, 2, np.float32), np.full(dim, -1, np.float32)
    if dtype == "int8":
        assert ranges is not None, "int8 has ranges"
        return int8_line(ranges)
    return None


def _load(path: Path, dtype: Any, shape: tuple[int | None, ...], *, is_mapped: bool = False) -> NDArray[Any]:
    """Return the array in a file; None in the shape takes any size. Raises: DataError for another dtype or shape."""
    # A plain array: slices of ``numpy.memmap`` cost microseconds more.
    found = np.asarray(load_array(path, is_mapped=is_mapped))
    is_right = found.dtype == dtype and len(found.shape) == len(shape)
    if not is_right or any(wanted not in (None, size) for wanted, size in zip(shape, found.shape, strict=True)):
        asked = " x ".join("N" if size is None else str(size) for size in shape)
        got = f"{path} has shape {found.shape} in {found.dtype}"
        raise DataError(got, f"wanted {asked} in {np.dtype(dtype)}", _AGAIN)
    return found


def decode(raw: NDArray[Any], dtype: Dtype, ranges: NDArray[np.float32] | None) -> Float[np.ndarray, "n D"]:
    """Return stored vectors as float32; the bits of ``binary`` are 1 and -1."""
    if dtype == "binary":
        return np.unpackbits(raw, axis=1).astype(np.float32) * 2 - 1
    if dtype == "int8":
        assert ranges is not None, "int8 has ranges"
        return from_int8(raw, ranges)
    return raw.astype(np.float32, copy=False)


def inverse_lengths(vectors: Float[np.ndarray, "n D"]) -> Float[np.ndarray, " n"]:
    """Return 1 / length of each vector; 1 for a vector of zeros."""
    lengths = np.linalg.norm(vectors, axis=1)
    return (1 / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def unit(vectors: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n D"]:
    """Return vectors scaled to length 1; zeros stay."""
    return vectors * inverse_lengths(vectors)[:, None]


class VectorWriter:
    """Writes the vectors of an index block by block, in flat memory.

    Not through a memory map: a full disk would end the process with a signal instead of an error.
    """

    def __init__(
        self, folder: Path, num_rows: int, dim: int, dtype: Dtype, similarity: Similarity, ranges: Path | None
    ) -> None:
        self._dtype, self._num_rows = dtype, num_rows
        self._ranges = None
        if ranges is not None:
            self._ranges = _load(ranges, np.float32, (2, dim))
            (folder / RANGES).write_bytes(ranges.read_bytes())
        self._scales_path = folder / SCALES
        self._width = dim // 8 if dtype == "binary" else dim
        self._is_scaled = similarity == "cosine" and dtype == "float32"
        has_scales = similarity == "cosine" and dtype != "float32"
        self._scales = np.ones(num_rows, np.float32) if has_scales else None
        self._file = (folder / VECTORS).open("wb")
        _write_header(self._file, np.dtype(STORED[dtype]), (num_rows, self._width))
        self._start = self._file.tell()
        self._written = 0

    def add(self, raw: NDArray[Any], place: str, rows: Int[np.ndarray, " n"] | None = None) -> None:
        """Write the stored vectors of a shard.

        Args:
            place: names the shard in errors.
            rows: the numbers of their rows; None for those after the last.
        Raises: DataError where they have another width or dtype than the others, or are not finite; OSError where the
            disk is full.
        """
        if raw.ndim != 2 or raw.shape[1] != self._width or raw.dtype != STORED[self._dtype]:
            raise DataError(
                f"{place} has vectors of shape {raw.shape[1:]} in {raw.dtype}",
                f"wanted {self._width} numbers in {np.dtype(STORED[self._dtype])}, as the manifest says",
                "a folder holds the embeddings of one model: encode the corpus again",
            )
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise DataError(f"{place} has vectors that are not finite", hint="encode the corpus again")
        if self._is_scaled:
            raw = unit(raw)
        if rows is None:
            rows = np.arange(self._written, self._written + len(raw))
        if self._scales is not None:
            self._scales[rows] = inverse_lengths(decode(raw, self._dtype, self._ranges))
        # Rows that follow one another are written at once.
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else ():
            self._file.seek(self._start + int(rows[part[0]]) * raw[0].nbytes)
            self._file.write(np.ascontiguousarray(raw[part[0] : part[-1] + 1]).data.cast("B"))
        self._written += len(raw)

    def __enter__(self) -> VectorWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        if error is None:
            assert self._written == self._num_rows, "every row of the manifest is written"
            if self._scales is not None:
                with self._scales_path.open("wb") as file:
                    # Not np.save, whose error for a full disk does not say that it is full.
                    _write_header(file, self._scales.dtype, self._scales.shape)
                    file.write(self._scales.tobytes())


def _write_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
