"""Names in sentences."""

from __future__ import annotations

import pytest

from poolwise.wording import listed, visible, without_home


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (list("abcdefgh"), "a, b, c, d, e, f, g and h"),
        (list("abcdefghi"), "a, b, c, d, e and 4 more"),
    ],
)
def test_many_names_are_shortened(names: list[str], text: str) -> None:
    assert listed(names) == text


def test_a_list_that_is_the_result_is_whole() -> None:
    assert listed(list("abcdefghi"), most=None) == "a, b, c, d, e, f, g, h and i"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("title \x1b]0;owned\x07", "title \\x1b]0;owned\\x07"),
        ("over\rwritten\x08\x7f\x9b31m", "over\\rwritten\\x08\\x7f\\x9b31m"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("kept\n\ttext é 漢 🙂", "kept\n\ttext é 漢 🙂"),
    ],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("home", "path", "shown"),
    [
        ("/home/ann", "/home/ann/base", "~/base"),
        ("/home/ann", "/home/ann", "~"),
        ("/home/ann", "/home/anna/base", "/home/anna/base"),
        ("/home/ann", "org/name", "org/name"),
        ("/", "/data/base", "/data/base"),
    ],
)
def test_a_home_folder_is_not_named(monkeypatch: pytest.MonkeyPatch, home: str, path: str, shown: str) -> None:
    monkeypatch.setenv("HOME", home)
    assert without_home(path) == shown
