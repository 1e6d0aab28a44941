"""State files: what comes back, what it takes, what survives."""

import os
from pathlib import Path

import numpy as np
import pytest

from poolwise.design import parse_design
from poolwise.errors import EvalError
from poolwise.models.pooling import build_pooling
from poolwise.screening import StateStore, StoreSpec, save_head
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
    assert flushed == ["a.values", "a.powers", "a.json.partial", tmp_path.name]


@pytest.mark.parametrize(("kept", "wanted"), [("float16", 2 * 3 * 4 + 2 * 3), ("float32", 4 * 3 * 4)])
def test_bytes_are_those_on_disk(tmp_path: Path, kept: str, wanted: int) -> None:
    file = written(tmp_path / "a", np.ones((7, 3, 4), np.float32), kept)
    on_disk = sum(p.stat().st_size for p in tmp_path.iterdir() if p.suffix in (".values", ".powers"))
    assert bytes_per_state((3, 4), kept) == wanted
    assert file.num_bytes == 7 * wanted == on_disk


def filled(path: Path, kept: str, ends: tuple[int, ...] = (2, 4, 6)) -> np.ndarray:
    states = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    file = StateFile(path, 6, (3,), kept)
    for start, end in zip((0, *ends), ends, strict=False):
        file.write(start, states[start:end])
        file.mark(end)
    return states


def flip(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("damage", "done"),
    [
        (lambda folder: flip(folder / "a.values", -1), 4),
        (lambda folder: flip(folder / "a.values", 2 * 3 * 2), 2),  # the third of six rows of 3 x 2 bytes
        (lambda folder: flip(folder / "a.powers", 0), 0),
        (lambda folder: (folder / "a.powers").unlink(), 0),
        (lambda folder: (folder / "a.values").write_bytes((folder / "a.values").read_bytes()[:-1]), 4),
        (lambda folder: (folder / "a.values").write_bytes(b""), 0),
        (lambda folder: (folder / "a.json").write_text(""), 0),
        (lambda folder: (folder / "a.json").write_bytes(b"\xff"), 0),
        (lambda folder: (folder / "a.json").write_text("[]"), 0),
        (lambda folder: (folder / "a.json").write_text('{"done": 999, "parts": [[999, "x"]]}'), 0),
        (lambda folder: (folder / "a.json").write_text((folder / "a.json").read_text().replace("6", "5", 1)), 0),
    ],
)
def test_states_from_a_damaged_part_on_do_not_count_and_can_be_written_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object, done: int
) -> None:
    states = filled(tmp_path / "a", "float16")
    whole = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    damage(tmp_path)  # type: ignore[operator]
    file = StateFile(tmp_path / "a", 6, (3,), "float16")
    assert file.done == done and str(tmp_path / "a") in caplog.text and "again" in caplog.text
    for start in range(done, 6, 2):
        file.write(start, states[start : start + 2])
        file.mark(start + 2)
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == whole


def test_states_of_an_older_version_are_used_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path / "a", "float32")
    (tmp_path / "a.json").write_text('{"done": 6}')
    assert StateFile(tmp_path / "a", 6, (3,), "float32").done == 6 and "older version" in caplog.text


@pytest.mark.parametrize("name", ["store.json", "lengths.npy"])
@pytest.mark.parametrize("damage", ["missing", "empty", "flip"])
def test_a_damaged_layout_is_named_and_made_again(tmp_path: Path, name: str, damage: str) -> None:
    spec = StoreSpec("base", "hash", "causal", 8, "fp32", "float32", (("", "a"), ("", "b")))

    def laid_out() -> StateStore:
        store = StateStore(spec, tmp_path)
        store.lay_out(np.array([2, 3]), np.array([0, 0]), 4, 2)
        return store

    path = laid_out().folder / name
    before = path.read_bytes()
    assert StateStore(spec, tmp_path).is_laid_out and list(StateStore(spec, tmp_path).lengths.order) == [1, 0]
    path.unlink() if damage == "missing" else path.write_bytes(b"") if damage == "empty" else flip(path, 8)
    store = StateStore(spec, tmp_path)
    assert not store.is_laid_out
    with pytest.raises(EvalError, match=rf"{name} .*delete"):
        _ = store.shape if damage != "missing" or name == "store.json" else store.lengths
    assert laid_out().shape == (2, 4) and path.read_bytes() == before


def test_a_head_has_the_mode_of_any_file(tmp_path: Path) -> None:
    """safetensors writes its files for their owner alone, so another user could not evaluate the run."""
    save_head([None, build_pooling(parse_design("mlp+causal"), 4, 2)], tmp_path / "head")  # type: ignore[arg-type]
    (tmp_path / "usual").touch()
    files = [*(path for path in (tmp_path / "head").rglob("*") if path.is_file()), tmp_path / "usual"]
    assert len(files) == 3 and len({path.stat().st_mode for path in files}) == 1
