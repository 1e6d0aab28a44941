"""Headers of GGUF files that were made to mislead: one error, and no work beyond the size of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolwise.base_sources.gguf_header import read_header
from poolwise.errors import ModelError
from support import load_benchmark

GGUF = load_benchmark("_fuzz_targets")._gguf()


def read(folder: Path, raw: bytes) -> object:
    (folder / "a.gguf").write_bytes(raw)
    return read_header(folder / "a.gguf")


def test_a_small_file_is_read(tmp_path: Path) -> None:
    header = read(tmp_path, GGUF)
    assert (header.architecture, header.data_start % 32, len(header.tensors)) == ("llama", 0, 2)
    assert header.metadata["tokenizer.ggml.tokens"] == 2 and header.of_architecture("block_count") == 2


ALIGNMENT = GGUF.index(b"general.alignment") + len("general.alignment")
DIMENSIONS = GGUF.index(b"token_embd.weight") + len("token_embd.weight")


@pytest.mark.parametrize(
    ("place", "replacement"),
    [
        (ALIGNMENT, (4).to_bytes(4, "little") + (0).to_bytes(4, "little")),  # an alignment of zero
        (ALIGNMENT, (6).to_bytes(4, "little") + b"\x00\x00\x80\x7f"),  # infinity
        (DIMENSIONS, (2**32 - 1).to_bytes(4, "little")),  # dimensions without end
        (8, (2**63).to_bytes(8, "little")),  # tensors without end
        (16, (2**63).to_bytes(8, "little")),  # metadata without end
    ],
)
def test_misleading_numbers_are_one_error(tmp_path: Path, place: int, replacement: bytes) -> None:
    raw = GGUF[:place] + replacement + GGUF[place + len(replacement) :]
    with pytest.raises(ModelError, match="its header ends early or is damaged"):
        read(tmp_path, raw)
