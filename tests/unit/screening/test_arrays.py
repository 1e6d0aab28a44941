"""State files: what comes back, what it takes, what survives."""

import os
from pathlib import Path

import numpy as np
import pytest

from poolwise.screening.arrays import StateFile, bytes_per_state


def written(path: Path, states: np.ndarray, kept: str) -> StateFile:
    file = StateFile(path, len(states), states.shape[1:], kept)
    file.write(0, states)
    file.mark(len(states))
    return file


def test_float32_comes_back_bit_for_bit(tmp_path: Path) -> None:
    states = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
    file = written(tmp_path / "a", states, "float32")
    assert (file.read(slice(0, 5)) == states).all()
    assert (file.read(np.array([4, 1])) == states[[4, 1]]).all()


def test_float16_keeps_eleven_bits_of_the_largest_whatever_the_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = 10.0 ** np.arange(-20, 21, 5)  # float16 alone ends at 65504 and 6e-8
    states = (rng.standard_normal((len(sizes), 64)) * sizes[:, None]).astype(np.float32)
    read = written(tmp_path / "a", states, "float16").read(slice(None))
    assert (np.abs(read - states).max(axis=1) <= 2**-11 * np.abs(states).max(axis=1)).all()


def test_a_vector_of_zeros_stays_zero(tmp_path: Path) -> None:
    assert (written(tmp_path / "a", np.zeros((2, 4), np.float32), "float16").read(slice(None)) == 0).all()


def test_done_counts_what_was_marked_and_not_what_was_written(tmp_path: Path) -> None:
    states = np.ones((4, 2), np.float32)
    file = StateFile(tmp_path / "a", 4, (2,), "float16")
    assert file.done == 0
    file.write(0, states[:3])
    assert file.done == 0
    file.mark(2)
    assert StateFile(tmp_path / "a", 4, (2,), "float16").done == 2


def test_states_are_on_the_disk_before_they_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda number: flushed.append(Path(f"/proc/self/fd/{number}").readlink().name))
    written(tmp_path / "a", np.ones((4, 2), np.float32), "float16")
    assert flushed == ["a.values", "a.powers", "a.json.partial"]


@pytest.mark.parametrize(("kept", "wanted"), [("float16", 2 * 3 * 4 + 2 * 3), ("float32", 4 * 3 * 4)])
def test_bytes_are_those_on_disk(tmp_path: Path, kept: str, wanted: int) -> None:
    file = written(tmp_path / "a", np.ones((7, 3, 4), np.float32), kept)
    on_disk = sum(p.stat().st_size for p in tmp_path.iterdir() if p.suffix in (".values", ".powers"))
    assert bytes_per_state((3, 4), kept) == wanted
    assert file.num_bytes == 7 * wanted == on_disk
