"""Paths in a recipe: relative to its file, seen from the working directory, hub names left alone."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from poolwise.config import Recipe, load_recipe
from poolwise.errors import ConfigError
from support import ROOT


def write(folder: Path, **changes: Any) -> Path:
    tree = {
        "name": "toy",
        "base": "base",
        "designs": ["mean+causal"],
        "reference": "mean+causal",
        "data": {"train": ["a.jsonl", {"source": "more/b.csv", "category": "sts"}, "owner/name", "poolwise/pydoc"]},
        "tasks": ["suite", "suite/sts@dev", "mteb:SciFact", "poolwise/pydoc"],
        "tune": {"learning_rate": [1e-4, 1e-3], "steps": 1, "dev": ["suite@dev"]},
        "adapt": {"data": "texts.jsonl"},
    }
    path = folder / "toy.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree | changes))
    return path


def fill(folder: Path) -> None:
    for name in ("base", "suite/sts", "more"):
        (folder / name).mkdir(parents=True)
    for name in ("a.jsonl", "more/b.csv", "texts.jsonl"):
        (folder / name).touch()


def paths_of(recipe: Recipe) -> list[str]:
    assert recipe.tune is not None and recipe.adapt is not None and recipe.adapt.data is not None
    sources = [source.source for source in recipe.data.train]
    return [recipe.base, *sources, *recipe.tasks, *recipe.tune.dev, *recipe.adapt.data]


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("small.gguf", "recipes/small.gguf"),
        ("base:small.gguf", "recipes/base:small.gguf"),
        ("./missing.gguf", "recipes/missing.gguf"),
        ("owner/name:small.gguf", "owner/name:small.gguf"),
        ("owner/name@main:small.gguf", "owner/name@main:small.gguf"),
        ("/abs/small.gguf", "/abs/small.gguf"),
        ("/abs:small.gguf", "/abs:small.gguf"),
        ("poolwise/smollm2", "poolwise/smollm2"),
    ],
)
def test_a_base_in_a_gguf_file(written: str, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write(tmp_path / "recipes", base=written)
    fill(tmp_path / "recipes")
    (tmp_path / "recipes" / "small.gguf").touch()
    monkeypatch.chdir(tmp_path)
    assert load_recipe(recipe).base.removeprefix("./") == seen


AS_WRITTEN = ["base", "a.jsonl", "more/b.csv", "owner/name", "poolwise/pydoc"]
AS_WRITTEN += ["suite", "suite/sts@dev", "mteb:SciFact", "poolwise/pydoc", "suite@dev", "texts.jsonl"]
NO_PATHS = ("owner/name", "poolwise/pydoc", "mteb:SciFact")


@pytest.fixture
def notes(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="poolwise.config")
    return caplog


@pytest.mark.parametrize(
    ("here", "prefix"), [("", "deep/recipes/"), ("deep", "recipes/"), ("other", "../deep/recipes/")]
)
def test_paths_are_relative_to_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: pytest.LogCaptureFixture, here: str, prefix: str
) -> None:
    recipe = write(tmp_path / "deep" / "recipes")
    fill(recipe.parent)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / here)
    wanted = [name if name in NO_PATHS else prefix + name for name in AS_WRITTEN]
    assert paths_of(load_recipe(recipe)) == wanted
    assert paths_of(load_recipe(Path(prefix) / "toy.yaml")) == wanted
    assert not notes.records


def test_beside_the_recipe_names_stay_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: pytest.LogCaptureFixture
) -> None:
    recipe = write(tmp_path)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # whether the files are there or not
        assert paths_of(load_recipe(recipe)) == AS_WRITTEN
        assert paths_of(load_recipe(Path("toy.yaml"))) == AS_WRITTEN
        fill(tmp_path) if not (tmp_path / "base").exists() else None
    assert not notes.records


def test_what_only_the_working_directory_has_is_taken_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: pytest.LogCaptureFixture
) -> None:
    recipe = write(tmp_path / "recipes")
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert paths_of(load_recipe(recipe)) == AS_WRITTEN
    (record,) = notes.records
    assert "base, a.jsonl, more/b.csv, texts.jsonl, suite, suite/sts, suite" in record.getMessage()
    assert "write ../base, ../a.jsonl, ../more/b.csv" in record.getMessage()


def test_the_recipes_own_files_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: pytest.LogCaptureFixture
) -> None:
    recipe = write(tmp_path / "recipes")
    fill(tmp_path)
    fill(tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    assert load_recipe(recipe).base == "recipes/base"
    assert load_recipe(recipe).tasks[1] == "recipes/suite/sts@dev"
    assert not notes.records


def test_overrides_are_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write(tmp_path / "recipes")
    fill(recipe.parent)
    monkeypatch.chdir(tmp_path)
    found = load_recipe(recipe, ["base=base", "tasks=[suite]", "data.train=[a.jsonl]"])
    assert (found.base, found.tasks, found.data.train[0].source) == ("base", ["suite"], "a.jsonl")


def test_missing_files_are_looked_for_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"train": ["./none", "none.csv", "owner/name"]}
    recipe = write(tmp_path / "recipes", base="./none", data=data, tasks=["none", "/none", "~/none@dev"])
    monkeypatch.chdir(tmp_path)
    found = load_recipe(recipe)
    assert found.base == "./recipes/none"  # with the dot, for recipes/none might be a hub id
    assert [source.source for source in found.data.train] == ["./recipes/none", "./recipes/none.csv", "owner/name"]
    assert found.tasks == ["./recipes/none", "/none", "~/none@dev"]


def test_a_folder_that_is_a_link_is_gone_through_and_not_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "far")
    recipe = write(tmp_path / "far" / "recipes", base="../base")
    (tmp_path / "recipes").symlink_to(recipe.parent)
    monkeypatch.chdir(tmp_path)
    base = load_recipe(Path("recipes/toy.yaml")).base
    assert Path(base).samefile(tmp_path / "far" / "base")


@pytest.mark.parametrize("changes", [{"tasks": 3}, {"data": [1]}, {"data": {"train": [3, {"source": 4}]}}, {"base": 1}])
def test_what_is_no_path_at_all_is_left_to_the_recipes_own_checks(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        load_recipe(write(tmp_path, **changes))


def test_the_recorded_study_keeps_its_hash(monkeypatch: pytest.MonkeyPatch, notes: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(ROOT)
    recipe = load_recipe(Path("recipes/controlled.yaml"))
    assert recipe.fingerprint == "78c43be081bfa28b"
    assert recipe.tasks[0] == "../shared/data/eval/sts"
    assert not notes.records


def test_the_note_is_on_standard_error(tmp_path: Path) -> None:
    recipe = write(tmp_path / "recipes")
    fill(tmp_path)
    code = (
        "import sys; from pathlib import Path; from poolwise.config import load_recipe; load_recipe(Path(sys.argv[1]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, recipe], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert found.stderr.startswith("recipe ") and found.stderr.count("\n") == 1 and found.stdout == ""
