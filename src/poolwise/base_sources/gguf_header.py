"""The header of a GGUF file: its metadata and tensor table, read without the tensors and without other libraries.

Source: the format's description, github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poolwise.errors import ModelError

_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_ALIGNMENT = 32
_MOST_DIMS = 4
"""GGML_MAX_DIMS."""


@dataclass(frozen=True)
class TensorEntry:
    """One row of the tensor table. ``offset`` is in bytes from the start of the data, ``kind`` the number of ggml's."""

    name: str
    num_elements: int
    kind: int
    offset: int


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says about its model. In ``metadata`` an array is replaced by its length."""

    metadata: Mapping[str, Any]
    tensors: tuple[TensorEntry, ...]
    data_start: int

    @property
    def architecture(self) -> str:
        """The architecture, by llama.cpp's name; empty if the file does not say."""
        return str(self.metadata.get("general.architecture", ""))

    def of_architecture(self, key: str) -> Any:
        """Return the value of a key of the file's own architecture, such as ``rope.scaling.type``; None if absent."""
        return self.metadata.get(f"{self.architecture}.{key}")


def read_header(path: Path) -> GgufHeader:
    """Return the header of a GGUF file.

    Raises: ModelError where the file is missing, no GGUF file, of another version, or cut inside the header.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            if start[:4] != b"GGUF":
                raise _not_gguf(path, start)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Cursor(data).header(path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}", "wanted a GGUF file") from error
    except (struct.error, EOFError, UnicodeDecodeError, ValueError) as error:
        raise cut_file(path, "its header ends early or is damaged") from error


def _not_gguf(path: Path, start: bytes) -> ModelError:
    found = "is empty" if not start else f"starts with {start!r}"
    if start.startswith(b"version "):
        found = "is a pointer of Git LFS, not the file itself"
    return ModelError(
        f"{path} is not a GGUF file: it {found}", "wanted a file that starts with b'GGUF'", "fetch it again"
    )


def cut_file(path: Path, what: str) -> ModelError:
    """Return the error for a GGUF file that is not whole."""
    return ModelError(f"{path} is cut or damaged: {what}", "wanted a whole GGUF file", "fetch it again")


class _Cursor:
    """A position in the bytes of a file. Every read past the end raises struct.error or EOFError."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 4

    def header(self, path: Path) -> GgufHeader:
        version = self._number("I")
        if version not in _VERSIONS:
            raise ModelError(
                f"{path} is GGUF version {version}",
                f"wanted version {' or '.join(map(str, _VERSIONS))} (little-endian)",
                "convert it again with a newer llama.cpp, or use the model's Hugging Face folder",
            )
        num_tensors, num_values = self._number("Q"), self._number("Q")
        metadata = {self._text(): self._value(self._number("I")) for _ in range(num_values)}
        tensors = tuple(self._tensor() for _ in range(num_tensors))
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        if type(alignment) is not int or alignment < 1:
            raise ValueError(f"alignment {alignment!r}")
        return GgufHeader(metadata, tensors, -(-self._at // alignment) * alignment)

    def _take(self, size: int) -> int:
        start = self._at
        self._at += size
        if self._at > len(self._data):
            raise EOFError
        return start

    def _number(self, form: str) -> Any:
        return struct.unpack_from(f"<{form}", self._data, self._take(struct.calcsize(f"<{form}")))[0]

    def _text(self) -> str:
        start = self._take(self._number("Q"))
        return self._data[start : self._at].decode()

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._number(_form(kind))
        inner, count = self._number("I"), self._number("Q")
        if inner == _STRING:
            for _ in range(count):
                self._take(self._number("Q"))
        else:
            self._take(count * struct.calcsize(f"<{_form(inner)}"))
        return count

    def _tensor(self) -> TensorEntry:
        name, num_dims = self._text(), self._number("I")
        if num_dims > _MOST_DIMS:
            raise ValueError(f"a tensor of {num_dims} dimensions")
        sizes = [self._number("Q") for _ in range(num_dims)]
        return TensorEntry(name, math.prod(sizes), self._number("I"), self._number("Q"))


def _form(kind: int) -> str:
    if kind not in _NUMBERS:
        raise ValueError(f"type {kind}")
    return _NUMBERS[kind]
