"""Messages of errors: of bounded length, whatever value they repeat."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from poolwise.errors import MOST_CHARACTERS, ConfigError, DataError, collect, shortened, unreadable
from poolwise.storage.json_lines import cut_short


def test_a_value_of_megabytes_is_not_repeated_whole() -> None:
    error = ConfigError("start " + "x" * 10**6 + " end", "w" * 10**6, "hint")
    assert len(str(error)) < 3 * MOST_CHARACTERS
    assert error.got.startswith("start xxx") and error.got.endswith("xxx end") and str(error).endswith("; hint")
    with pytest.raises(DataError) as found:
        collect([f"line {number}: " + "y" * 10**5 for number in range(20)], DataError, "bad lines")
    assert all(f"line {number}:" in str(found.value) for number in range(10)) and "10 more" in str(found.value)
    assert len(str(found.value)) < 3 * MOST_CHARACTERS


def test_short_texts_stay() -> None:
    assert shortened("a" * 100, 100) == "a" * 100
    assert len(shortened("a" * 101, 100)) <= 100


def test_a_pickle_is_not_recommended_to_be_opened() -> None:
    torchs = "Weights only load failed. Re-running `torch.load` with `weights_only` set to `False` will likely succeed"
    told = str(unreadable("cannot read x", RuntimeError(torchs)))
    assert told == "cannot read x: it is a pickle with more than tensors, which is not opened"


def test_a_file_that_may_not_be_read_is_not_called_cut() -> None:
    told = str(cut_short(Path("a.jsonl"), 1, PermissionError(errno.EACCES, "Permission denied", "a.jsonl")))
    assert told.startswith("a.jsonl: Permission denied; give another path, or change the owner or the mode")
    assert str(cut_short(Path("a.gz"), 7, EOFError("ended"))).startswith("a.gz:7: cannot be read further: ended; is")
