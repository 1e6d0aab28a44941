"""What ships in the wheel: every file under ``src/poolwise`` that git knows, and the mark that says it is typed."""

from __future__ import annotations

import subprocess
import tomllib

import pytest

from support import ROOT

PACKAGE = "src/poolwise/"


def tracked() -> set[str]:
    """Return the package's files that git knows; of a copy without its history, those that are there."""
    found = subprocess.run(["git", "ls-files", PACKAGE], cwd=ROOT, capture_output=True, text=True)
    there = [path for path in (ROOT / PACKAGE).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return set(found.stdout.splitlines()) or {str(path.relative_to(ROOT)) for path in there}


def test_the_package_says_that_it_is_typed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert f"{PACKAGE}py.typed" in tracked()
    assert "Typing :: Typed" in project["project"]["classifiers"]
    # hatchling takes the whole folder but what git ignores, unless it is told otherwise.
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["src/poolwise"]}
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *sorted(tracked())], cwd=ROOT, capture_output=True, text=True
    )
    assert ignored.stdout == ""


def test_the_wheel_holds_every_file() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling, of the dev group, is not installed")
    built = {file.distribution_path for file in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {path.removeprefix("src/") for path in tracked()} <= built
    assert "poolwise/py.typed" in built
