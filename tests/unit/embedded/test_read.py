"""Reading documentation from a tiny library whose entries are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolwise.embedded import pydoc_read
from poolwise.embedded.pydoc_read import read_builtins, read_library, read_sources, split_docstring
from poolwise.errors import DataError

NETWORK = '''"""Talk to other machines over a wire."""
import os
os.environ["POOLWISE_IMPORTED"] = "yes"

class WireError(Exception):
    """The wire was cut by somebody."""

class Wire(Base):
    """A wire between two machines.

    It carries bytes in both directions.
    """

    def send(self, data, *, retries=3):
        """send(data) -> int

        Send all data over the wire. Returns the number of bytes.
        """

    def close(self):
        pass

if os.name == "posix":
    def cut(wire):
        """Cut this wire for good.

        Example:

        >>> cut(wire)
        True

        Nothing can be sent afterwards.
        """
else:
    def cut(wire):
        """Never read because defined twice."""
'''


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "wire.py").write_text(NETWORK)
    (tmp_path / "pack" / "tests").mkdir(parents=True)
    (tmp_path / "pack" / "__init__.py").write_text('"""A package of several things."""')
    (tmp_path / "pack" / "inner.py").write_text('def f():\n    """Too short."""\n')
    (tmp_path / "pack" / "tests" / "test_it.py").write_text('"""This test is not documentation."""')
    (tmp_path / "_private.py").write_text('"""This module is nobody\'s business."""')
    (tmp_path / "_pydatetime.py").write_text('"""Dates and times in plain Python."""')
    (tmp_path / "broken.py").write_text("def {{ template }}")
    return tmp_path


def test_entries_of_a_tiny_library(library: Path) -> None:
    entries = {entry.key: entry for entry in read_sources(library)}
    assert list(entries) == [
        "_pydatetime:",
        "pack:",
        "wire:",
        "wire:WireError",
        "wire:Wire",
        "wire:Wire.send",
        "wire:cut",
    ]
    assert entries["_pydatetime:"].family == "datetime"
    assert [entry.kind for entry in entries.values()][2:] == ["module", "exception", "class", "function", "function"]
    send = entries["wire:Wire.send"]
    assert (send.signature, send.summary, send.body) == (
        "data, *, retries=3",
        "Send all data over the wire.",
        "Returns the number of bytes.",
    )
    assert entries["wire:Wire"].full == "A wire between two machines. It carries bytes in both directions."
    assert entries["wire:cut"].body == "Example: Nothing can be sent afterwards."


def test_nothing_is_imported(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.delenv("POOLWISE_IMPORTED", raising=False)
    read_sources(library)
    assert "POOLWISE_IMPORTED" not in os.environ


@pytest.mark.parametrize(
    ("text", "summary", "body"),
    [
        ("", "", ""),
        ("Return the\n  name.", "Return the name.", ""),
        ("S.find(sub) -> int\n\nReturn the lowest index.", "Return the lowest index.", ""),
        ("D.popitem() -> (k, v), remove and return a pair\nas a tuple.", "remove and return a pair as a tuple.", ""),
        ("deque([items]) --> deque object\n\nA list with two ends.", "A list with two ends.", ""),
        ("sort(key) -- sort in place", "sort in place", ""),
        ("Open it. Then close it.\n\nLate.", "Open it.", "Then close it. Late."),
        ("Use e.g. this one", "Use e.g. this one", ""),
        ("Title\n=====\n\nBody text here.", "Title", "Body text here."),
        ("word " * 60, "", ""),
    ],
)
def test_split_docstring(text: str, summary: str, body: str) -> None:
    assert split_docstring(text) == (summary, body)


def test_builtins_are_read_without_what_is_missing() -> None:
    entries = {entry.key: entry for entry in read_builtins(("math", "no_such_module"))}
    assert {entry.family for entry in entries.values()} == {"math"}
    assert entries["math:isclose"].kind == "function"
    assert "math:__loader__" not in entries


def test_what_a_program_adds_to_a_module_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    def added() -> None:
        """This was put here by somebody."""

    monkeypatch.setattr(builtins, "added", added, raising=False)
    keys = {entry.key for entry in read_builtins(("builtins",))}
    assert "builtins:added" not in keys and "builtins:str.split" in keys and "builtins:sorted" in keys


def test_a_library_without_sources_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pydoc_read.sysconfig, "get_path", lambda name: str(tmp_path / "missing"))
    with pytest.raises(DataError, match="documentation of 0 objects"):
        read_library()
