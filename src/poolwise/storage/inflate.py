"""Reads gzipped files with bounded memory: one that inflates far beyond what texts do is refused, not read."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO

from poolwise.errors import DataError

READ_ERRORS = (OSError, EOFError, zlib.error)
"""What reading a missing, locked or truncated file raises, gzipped or not."""
LARGEST_RATIO = 200
"""Texts and numbers are compressed to a fifth or a tenth, tables that repeat one row to a hundredth; gzip's limit is
1,030."""
FREE_BYTES = 2**26
"""A file that inflates to no more than this (64 MiB) may have any ratio."""
MOST_AT_ONCE = 2**29
"""Bytes of an inflated file that is read in one piece (512 MiB), such as a TREC run: 7,000 queries take 350 MB."""


def open_binary(path: Path) -> BinaryIO:
    """Return a file to read, plain or, by its suffix ``.gz``, inflated while it is read.

    Raises: DataError while it is read, where it inflates to more than ``FREE_BYTES`` and ``LARGEST_RATIO`` times its
        size; what ``gzip`` raises where it is truncated.
    """
    if path.suffix != ".gz":
        return path.open("rb")
    return io.BufferedReader(_Inflated(path, gzip.open(path)), 2**17)


def read_inflated(path: Path) -> bytes:
    """Return the content of a file, inflated by its suffix ``.gz``.

    Raises: as ``open_binary``; DataError also where it inflates to more than ``MOST_AT_ONCE``.
    """
    with open_binary(path) as file:
        if path.suffix != ".gz":
            return file.read()
        raw = file.read(MOST_AT_ONCE + 1)
    if len(raw) > MOST_AT_ONCE:
        raise DataError(
            f"{path} inflates to more than {MOST_AT_ONCE:,} bytes",
            "wanted less, because such a file is read in one piece",
            "if you trust it, unpack it first (gunzip)",
        )
    return raw


def require_measure(path: Path, inflated: int) -> None:
    """Raise DataError where ``inflated`` bytes from a compressed file are more than a text of its size can give."""
    size = path.stat().st_size
    if inflated > (most := max(FREE_BYTES, LARGEST_RATIO * size)):
        raise DataError(
            f"{path} has {size:,} bytes and inflates to more than {most:,}",
            f"wanted a compressed file of at most {LARGEST_RATIO} times its size (from {FREE_BYTES:,} bytes on)",
            "if you trust it, write it again as plain JSON lines",
        )


class _Inflated(io.RawIOBase):
    """The inflated bytes of a gzipped file, counted."""

    def __init__(self, path: Path, file: gzip.GzipFile) -> None:
        self._path, self._file, self._count = path, file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        self._count = self._file.seek(place, whence)
        return self._count

    def tell(self) -> int:
        return self._count

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        raw = self._file.read1(len(buffer))  # of a truncated file, what comes before its end
        self._count += len(raw)
        require_measure(self._path, self._count)
        buffer[: len(raw)] = raw
        return len(raw)

    def close(self) -> None:
        self._file.close()
        super().close()
