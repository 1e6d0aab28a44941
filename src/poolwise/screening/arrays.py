"""States on disk: one file per kind of state, filled from front to back and read through a memory map."""

from __future__ import annotations

import hashlib
import json
import logging
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from poolwise.storage.json_text import load_json
from poolwise.storage.whole_files import flush_file, write_text

logger = logging.getLogger(__name__)
Kept = Literal["float16", "float32"]
FloatArray = NDArray[np.float32]
_READ_AT_ONCE = 2**24


class StateFile:
    """A file of ``length`` states of one shape, of which the first ``done`` are written.

    float16 states are divided by a power of two, one for each vector along the last axis, which is stored with them:
    states of large models exceed the range of float16. No vector loses more than 2**-11 of its largest entry.
    float32 states are stored unchanged.

    Law: states counted by ``done`` survive a kill or a crash of the machine at any moment, and are as they were
    written: each part between two marks has a checksum, and states from the first damaged part on do not count.
    """

    def __init__(self, path: Path, length: int, shape: tuple[int, ...], kept: Kept) -> None:
        self.path, self.length, self.shape, self.kept = path, length, shape, kept
        self._values_path = path.with_suffix(".values")
        self._powers_path = path.with_suffix(".powers")
        self._progress_path = path.with_suffix(".json")
        self._maps: tuple[NDArray[np.generic], NDArray[np.int16] | None] | None = None

    @property
    def done(self) -> int:
        """The number of states on disk that are as they were written, counted from the front."""
        return self._parts[-1][0] if self._parts else 0

    @cached_property
    def _parts(self) -> list[tuple[int, str]]:
        """The end and the checksum of each part; no checksum in one of a version that recorded none."""
        if not self._progress_path.is_file():
            return []
        try:
            stored = load_json(self._progress_path)
            parts = [(int(end), str(digest)) for end, digest in stored.get("parts", [(stored["done"], "")])]
            ends = [end for end, _ in parts]
            if ends != sorted(set(ends)) or ends[-1:] != [stored["done"]] or not 0 < ends[-1] <= self.length:
                raise ValueError("its counts do not fit together")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            logger.warning("%s is damaged; its states are computed again", self._progress_path)
            return []
        for place, (start, (end, digest)) in enumerate(zip([0, *ends], parts, strict=False)):
            if not digest:
                logger.warning("%s has no checksums (written by an older version) and is used unchecked", self.path)
            if digest != self._digest(start, end) and (digest or not self._reaches(end)):
                logger.warning(
                    "states %s to %s of %s are missing or damaged; those from there on are computed again",
                    *(f"{start:,}", f"{end:,}", self._values_path),
                )
                return parts[:place]
        return parts

    def _spans(self, start: int, end: int) -> list[tuple[Path, int, int]]:
        """Return the files of the states between two numbers, and where they begin and end in bytes."""
        width = int(np.prod(self.shape)) * np.dtype(self.kept).itemsize
        spans = [(self._values_path, start * width, end * width)]
        if self.kept == "float16":
            powers = int(np.prod(self.shape[:-1])) * np.dtype(np.int16).itemsize
            spans.append((self._powers_path, start * powers, end * powers))
        return spans

    def _reaches(self, end: int) -> bool:
        return all(path.is_file() and path.stat().st_size >= last for path, _, last in self._spans(0, end))

    def _digest(self, start: int, end: int) -> str:
        """Return the checksum of the states between two numbers; another text if the files end before."""
        if not self._reaches(end):
            return "missing"
        total = hashlib.sha256()
        for path, first, last in self._spans(start, end):
            stat = path.stat()
            total.update(_hash_of_part(str(path), first, last, stat.st_size, stat.st_mtime_ns))
        return total.hexdigest()

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
        """Record that the first ``done`` states are written; fewer than before change nothing."""
        if done <= self.done:
            return
        for path in (self._values_path, self._powers_path):
            if path.is_file():
                flush_file(path)
        self._parts.append((done, self._digest(self.done, done)))
        write_text(self._progress_path, json.dumps({"done": done, "parts": self._parts}) + "\n")

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


@lru_cache(maxsize=2**12)
def _hash_of_part(path: str, first: int, last: int, size: int, modified_ns: int) -> bytes:
    """Return the hash of a file's bytes between two places; size and time are part of the cache key."""
    total = hashlib.sha256()
    with Path(path).open("rb") as file:
        file.seek(first)
        while first < last and (chunk := file.read(min(_READ_AT_ONCE, last - first))):
            total.update(chunk)
            first += len(chunk)
    return total.digest()


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
