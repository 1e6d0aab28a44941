"""States on disk: one file per kind of state, filled from front to back and read through a memory map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from poolwise.storage.whole_files import flush_file, write_text

Kept = Literal["float16", "float32"]
FloatArray = NDArray[np.float32]


class StateFile:
    """A file of ``length`` states of one shape, of which the first ``done`` are written.

    float16 states are divided by a power of two, one for each vector along the last axis, which is stored with them:
    states of large models exceed the range of float16. No vector loses more than 2**-11 of its largest entry.
    float32 states are stored unchanged.

    Law: states counted by ``done`` survive a kill or a crash of the machine at any moment.
    """

    def __init__(self, path: Path, length: int, shape: tuple[int, ...], kept: Kept) -> None:
        self.path, self.length, self.shape, self.kept = path, length, shape, kept
        self._values_path = path.with_suffix(".values")
        self._powers_path = path.with_suffix(".powers")
        self._progress_path = path.with_suffix(".json")
        self._maps: tuple[NDArray[np.generic], NDArray[np.int16] | None] | None = None

    @property
    def done(self) -> int:
        """The number of states on disk, counted from the front."""
        return int(json.loads(self._progress_path.read_text())["done"]) if self._progress_path.is_file() else 0

    @property
    def num_bytes(self) -> int:
        """The bytes on disk when the file is full."""
        return self.length * bytes_per_state(self.shape, self.kept)

    def write(self, start: int, states: FloatArray) -> None:
        """Write states from ``start`` on; they count only after ``mark``."""
        values, powers = _pack(states, self.kept)
        _put(self._values_path, start * int(np.prod(self.shape)) * values.itemsize, values)
        if powers is not None:
            _put(self._powers_path, start * int(np.prod(self.shape[:-1])) * powers.itemsize, powers)

    def mark(self, done: int) -> None:
        """Record that the first ``done`` states are written."""
        for path in (self._values_path, self._powers_path):
            if path.is_file():
                flush_file(path)
        write_text(self._progress_path, json.dumps({"done": done}) + "\n")

    def read(self, rows: NDArray[np.int64] | slice) -> FloatArray:
        """Return the states at ``rows`` in float32."""
        values, powers = self._maps = self._maps or self._open()
        wide = values[rows].astype(np.float32)
        return wide if powers is None else np.ldexp(wide, powers[rows][..., None], out=wide)

    def _open(self) -> tuple[NDArray[np.generic], NDArray[np.int16] | None]:
        values = np.memmap(self._values_path, self.kept, "r", shape=(self.length, *self.shape))
        if self.kept == "float32":
            return values, None
        return values, np.memmap(self._powers_path, np.int16, "r", shape=(self.length, *self.shape[:-1]))


def bytes_per_state(shape: tuple[int, ...], kept: Kept) -> int:
    """Return the bytes of one state on disk."""
    powers = 2 * int(np.prod(shape[:-1])) if kept == "float16" else 0
    return int(np.prod(shape)) * np.dtype(kept).itemsize + powers


def _pack(states: FloatArray, kept: Kept) -> tuple[NDArray[np.generic], NDArray[np.int16] | None]:
    if kept == "float32":
        return np.ascontiguousarray(states, np.float32), None
    powers = np.frexp(np.abs(states).max(axis=-1))[1].astype(np.int16)
    return np.ldexp(states, -powers[..., None]).astype(np.float16), powers


def _put(path: Path, offset: int, values: NDArray[np.generic]) -> None:
    path.touch()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(np.ascontiguousarray(values).data)
