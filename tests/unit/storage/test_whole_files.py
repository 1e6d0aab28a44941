"""What is written aside first: never half a file, and nothing left over."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from poolwise.errors import ConfigError
from poolwise.storage.whole_files import flush_folder, whole_file, whole_folder, write_bytes, write_text


class KilledError(Exception):
    pass


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what was flushed and renamed, in order; both are done all the same."""
    seen: list[str] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def flush(number: int) -> None:
        seen.append(f"flush {Path(f'/proc/self/fd/{number}').readlink().name}")
        fsync(number)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", lambda self, to: (seen.append(f"name {to.name}"), replace(self, to))[1])
    monkeypatch.setattr(Path, "rename", lambda self, to: (seen.append(f"name {to.name}"), rename(self, to))[1])
    return seen


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, calls: list[str]) -> None:
    write_bytes(tmp_path / "new" / "a.json", b"{}\r\n")
    assert calls == ["flush a.json.partial", "name a.json", "flush new"]
    assert (tmp_path / "new" / "a.json").read_bytes() == b"{}\r\n"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


def test_text_is_utf8_and_its_line_ends_stay(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "é\r\n\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\r\n\n"


def test_a_kill_while_writing_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.json", "old")

    def kill(number: int) -> None:
        raise KilledError

    monkeypatch.setattr(os, "fsync", kill)
    with pytest.raises(KilledError):
        write_text(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.json.partial"]


def test_a_file_written_in_parts_is_whole_or_not_there(tmp_path: Path, calls: list[str]) -> None:
    with whole_file(tmp_path / "a.bin") as file:
        file.write(b"one")
        assert not (tmp_path / "a.bin").exists()
        file.write(b"two")
    assert (tmp_path / "a.bin").read_bytes() == b"onetwo"
    assert [call.partition(" ")[0] for call in calls] == ["flush", "name", "flush"]
    with pytest.raises(KilledError), whole_file(tmp_path / "a.bin") as file:
        file.write(b"half")
        raise KilledError
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bin", b"onetwo")]


def test_a_folder_replaces_another_once_it_is_on_the_disk(tmp_path: Path, calls: list[str]) -> None:
    for folder in (tmp_path / "base", tmp_path / "base.partial"):  # an earlier one, and what a kill left
        folder.mkdir()
        (folder / "left.txt").write_text("old")
    with whole_folder(tmp_path / "base") as aside:
        (aside / "deep").mkdir()
        (aside / "deep" / "new.txt").write_text("new")
        assert (tmp_path / "base" / "left.txt").is_file()
    assert sorted(calls[:3]) == ["flush base.partial", "flush deep", "flush new.txt"]
    assert calls[3:] == ["name .base.replaced", "name base", f"flush {tmp_path.name}"]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "base",
        "base/deep",
        "base/deep/new.txt",
    ]


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_folder_that_fails_is_not_made(tmp_path: Path, is_shared: bool) -> None:
    with pytest.raises(KilledError), whole_folder(tmp_path / "base", is_shared=is_shared) as aside:
        (aside / "half").write_text("x")
        raise KilledError
    assert not list(tmp_path.iterdir())


def test_a_folder_that_a_killed_process_moved_away_is_put_back(tmp_path: Path) -> None:
    moved = tmp_path / ".base.replaced"
    moved.mkdir()
    (moved / "who").write_text("old")
    with pytest.raises(KilledError), whole_folder(tmp_path / "base"):
        raise KilledError
    assert (tmp_path / "base" / "who").read_text() == "old"
    moved.mkdir()  # and one that was replaced already is deleted
    with pytest.raises(KilledError), whole_folder(tmp_path / "base"):
        raise KilledError
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_of_a_shared_folder_the_first_stays(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "cache", is_shared=True) as slow:
        with whole_folder(tmp_path / "cache", is_shared=True) as fast:
            (fast / "who").write_text("fast")
        (slow / "who").write_text("slow")
    assert (tmp_path / "cache" / "who").read_text() == "fast"
    assert len(list(tmp_path.iterdir())) == 1


def test_every_file_of_a_folder_is_flushed(tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a", "deep/b"):
        (tmp_path / name).write_text("x")
    flush_folder(tmp_path)
    assert sorted(calls) == ["flush a", "flush b", "flush deep", f"flush {tmp_path.name}"]


def test_of_two_that_write_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "base") as first:
        (first / "who").write_text("first")
        with (
            pytest.raises(ConfigError, match=rf"base is in use by process {os.getpid()} on"),
            whole_folder(tmp_path / "base"),
        ):
            pass
    assert (tmp_path / "base" / "who").read_text() == "first" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_in_the_place_of_a_partial_file_leads_nowhere(tmp_path: Path, link: Callable[..., None]) -> None:
    (tmp_path / "precious.txt").write_text("kept")
    link(tmp_path / "precious.txt", tmp_path / "run.json.partial")
    write_text(tmp_path / "run.json", "{}")
    assert (tmp_path / "precious.txt").read_text() == "kept"
    assert (tmp_path / "run.json").read_text() == "{}" and not (tmp_path / "run.json").is_symlink()
