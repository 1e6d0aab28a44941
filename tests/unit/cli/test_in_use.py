"""A command that writes where another process writes ends with exit code 2, and leaves what is there as it is."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import pytest
import yaml

import toys
from ab_folder import begun, design, run_traffic
from poolwise.cli.main import main
from poolwise.storage.lock import locked
from poolwise.storage.whole_files import held_from_beside
from toy_study import toy_recipe

TABLE = "model,task,item,score\n" + "".join(
    f"{model},sts,q{item},{item / 10 + shift}\n" for model, shift in (("a", 0.0), ("b", 0.05)) for item in range(8)
)


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """Run a command in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["poolwise", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def require_refused(
    held: contextlib.AbstractContextManager[None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *words: str | Path,
) -> None:
    with held:
        assert run(monkeypatch, *words) == 2
    assert f"is in use by process {os.getpid()} on" in capsys.readouterr().err


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "scores.csv").write_text(TABLE)
    return tmp_path / "scores.csv"


def test_a_report_of_a_finished_study(
    toy_study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (toy_study, toy_study / "results.json"):
        require_refused(locked(toy_study), capsys, monkeypatch, "report", name)


def test_a_comparison(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    require_refused(locked(out), capsys, monkeypatch, "compare", table, "--out", out)
    assert list(out.iterdir()) == []
    assert run(monkeypatch, "compare", table, "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.md", "report.tex"]


def test_mined_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    toys.write_training(Path("pairs.jsonl"))
    words = ("mine", "pairs.jsonl", "--model", "poolwise/nano", "--out", "mined.jsonl")
    require_refused(held_from_beside(tmp_path / "mined.jsonl"), capsys, monkeypatch, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_studies_at_several_budgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = toy_recipe(tmp_path), tmp_path / "out"
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    out.mkdir()
    words = ("study", tmp_path / "toy.yaml", "--budgets", "1,2", "--out", out)
    require_refused(locked(out), capsys, monkeypatch, *words)
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_an_experiment_and_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new, place, page = tmp_path / "new", tmp_path / "ab", tmp_path / "report.html"
    (tmp_path / "ab.yaml").write_text(yaml.safe_dump(design().model_dump(mode="json")))
    new.mkdir()
    require_refused(locked(new), capsys, monkeypatch, "experiment", new, "--design", tmp_path / "ab.yaml")
    assert list(new.iterdir()) == []
    run_traffic(begun(place), {"A": 0.3, "B": 0.3}, users=100)
    require_refused(held_from_beside(page), capsys, monkeypatch, "experiment", place, "--report", page)
    assert not page.exists()
