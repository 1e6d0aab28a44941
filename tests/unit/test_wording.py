"""Names in sentences."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from poolwise.wording import listed, visible, visible_json, without_home, without_homes
from support import ROOT


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


def test_json_with_control_characters_written_out_has_the_same_values() -> None:
    value = {"a\x1b[31m": ["\x9b2J", "\u202ea", "\ud800", "é\n\t", "\\x1b \\"]}
    shown = visible_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert visible(shown) == shown and "é" in shown
    assert json.loads(shown) == value


def test_every_command_prints_by_show() -> None:
    """``show`` and ``show_json`` write control characters out; ``print`` would send them to the terminal."""
    printing = {}
    for path in (ROOT / "src" / "poolwise" / "cli").glob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        plain = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        printing[path.name] = sum("visible" not in ast.unparse(call) for call in plain)
    # The version, and two messages in our own words.
    assert {name: count for name, count in printing.items() if count} == {"main.py": 3}


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot read /home/ann/a.txt", "cannot read ~/a.txt"),
        ('File "/home/ann/work/a.py", line 3', 'File "~/work/a.py", line 3'),
        ("in /home/ann, /home/ann: or /home/ann.", "in ~, ~: or ~."),
        ("/home/anna and /home/ann.old", "/home/anna and /home/ann.old"),
        ("/places/ann/a.txt", "~/a.txt"),
    ],
)
def test_a_text_names_no_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, shown: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "places" / "ann").mkdir(parents=True)
    (tmp_path / "home" / "ann").symlink_to(tmp_path / "places" / "ann")
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "ann"))
    at = {"/home": f"{tmp_path}/home", "/places": f"{tmp_path}/places"}
    for name, place in at.items():
        text, shown = text.replace(name, place), shown.replace(name, place)
    assert without_homes(text) == shown
    assert without_home(f"{tmp_path}/places/ann/b") == "~/b"


def test_a_home_folder_below_another_folder_of_its_name_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/root")
    assert without_homes("/data/root/a, /root/b") == "/data/root/a, ~/b"
    monkeypatch.setenv("HOME", "/")
    assert without_homes("/data/root/a") == "/data/root/a"
