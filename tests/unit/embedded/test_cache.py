"""The cache folder: where it is, built once, reused, and several builders at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolwise.embedded import pydoc
from poolwise.embedded.pydoc_read import Entry
from poolwise.errors import DataError


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Replace the builder by one that leaves a mark; return the folders it was asked to fill."""
    asked: list[Path] = []

    def write(folder: Path, entries: list[Entry]) -> None:
        asked.append(folder)
        (folder / "train.jsonl.gz").write_text(f"build {len(asked)}")
        (folder / "eval").mkdir()

    monkeypatch.setenv("POOLWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pydoc, "read_library", list)
    monkeypatch.setattr(pydoc, "write_pydoc", write)
    return asked


def test_cache_folder_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLWISE_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert pydoc.cache_folder() == Path("/a")
    monkeypatch.delenv("POOLWISE_CACHE")
    assert pydoc.cache_folder() == Path("/b/poolwise")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert pydoc.cache_folder() == Path.home() / ".cache" / "poolwise"


def test_built_once_and_reused(builds: list[Path]) -> None:
    train, suite = pydoc.pydoc_train_path(), pydoc.pydoc_suite_path()
    assert len(builds) == 1 and train.parent == suite.parent
    assert train.read_text() == "build 1" and suite.is_dir()
    assert list(train.parent.parent.iterdir()) == [train.parent]


def test_another_builder_that_finishes_first_wins(builds: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    write = pydoc.write_pydoc

    def overtaken(folder: Path, entries: list[Entry]) -> None:
        with monkeypatch.context() as other:
            other.setattr(pydoc, "write_pydoc", write)
            pydoc.pydoc_path()
        write(folder, entries)

    monkeypatch.setattr(pydoc, "write_pydoc", overtaken)
    assert pydoc.pydoc_train_path().read_text() == "build 1"
    assert len(builds) == 2 and len(list(pydoc.cache_folder().iterdir())) == 1


def test_a_failed_build_leaves_nothing(builds: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[Entry]:
        raise DataError("no library")

    monkeypatch.setattr(pydoc, "read_library", fail)
    with pytest.raises(DataError, match="no library"):
        pydoc.pydoc_path()
    assert not list(pydoc.cache_folder().iterdir())


def test_a_cache_that_cannot_be_written_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POOLWISE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="POOLWISE_CACHE"):
        pydoc.pydoc_path()
