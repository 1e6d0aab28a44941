"""Arrays are read, or refused in words: no objects, no damaged headers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from poolwise.errors import DataError
from poolwise.storage.arrays import load_array


def test_an_array_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    for is_mapped in (False, True):
        np.testing.assert_array_equal(load_array(tmp_path / "a.npy", is_mapped=is_mapped), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("change", [(b"'descr'", b"'descr"), (b"(2, 3)", b"(2, 9)"), (b"<f8", b"|O8"), (b"{", b"(")])
def test_a_damaged_header_is_one_error(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    raw = (tmp_path / "a.npy").read_bytes()
    assert change[0] in raw
    (tmp_path / "a.npy").write_bytes(raw.replace(*change, 1))
    with pytest.raises(DataError, match=r"cannot read .*a\.npy"):
        load_array(tmp_path / "a.npy")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"cannot read .*a\.npy: Object arrays"):
        load_array(tmp_path / "a.npy")
