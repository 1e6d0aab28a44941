"""``import poolwise``: the public names, lazily, each with an example that runs."""

from __future__ import annotations

import doctest
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import poolwise
import toys
from poolwise.design import Design
from support import ROOT

NAMES = [
    *("Comparison", "ConfigError", "DataError", "Design", "EvalError", "Index", "ModelError", "PoolwiseError"),
    *("Recipe", "StudyResults", "__version__", "build_index", "build_model", "compare", "doctor", "encode"),
    *("encode_corpus", "evaluate", "export_model", "load_model", "load_recipe", "open_index", "parse_design"),
    *("pooling_weights", "run_screen", "run_study", "train", "verify_export"),
]


def test_these_names_are_public_and_no_others() -> None:
    assert sorted(poolwise.__all__) == sorted(NAMES) == dir(poolwise)
    for name in NAMES:
        assert getattr(poolwise, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'encode_texts'"):
        poolwise.encode_texts  # noqa: B018


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = ("torch", "transformers", "sentence_transformers", "mteb", "scipy", "pydantic")
    code = f"import sys, poolwise; poolwise.__version__; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_type_checkers_see_what_is_imported_late() -> None:
    source = (Path(poolwise.__file__)).read_text()
    block = source.partition("if TYPE_CHECKING:")[2].partition("__version__")[0]
    seen = {
        name.strip() for line in block.splitlines() if "import" in line for name in line.split("import")[1].split(",")
    }
    assert seen == set(poolwise._HOMES) == set(NAMES) - {"__version__"}


EXAMPLES = [name for name in NAMES if name != "__version__" and not name.endswith("Error")]


LONG = ("verify_export",)
"""Examples that start processes, each of which imports what a first call imports."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in EXAMPLES])
def test_each_name_has_an_example_that_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toys.write_training(tmp_path / "pairs.jsonl")
    toys.write_suite(tmp_path / "my-suite")
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    found = getattr(poolwise, name)
    # The class of results is a record, whose fields have examples of their own in the functions that return it.
    examples = doctest.DocTestFinder(recurse=False).find(found, name, globs={})
    assert examples and examples[0].examples, f"poolwise.{name} has no example"
    failures, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(examples[0])
    assert not failures


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("Error")])
def test_errors_say_when_they_are_raised(name: str) -> None:
    assert len((inspect.getdoc(getattr(poolwise, name)) or "").split()) > 6


@pytest.mark.parametrize("name", [name for name in EXAMPLES if inspect.isfunction(getattr(poolwise, name))])
def test_every_argument_is_described(name: str) -> None:
    found = getattr(poolwise, name)
    told = inspect.getdoc(found) or ""
    # run_screen takes what run_study takes, and says so.
    missing = [name for name in inspect.signature(found).parameters if not re.search(rf"\b{name}\b", told)]
    assert not missing or "are those of" in told or len(inspect.signature(found).parameters) == 1


def test_a_design_prints_as_it_is_written() -> None:
    assert isinstance(poolwise.parse_design("paper:5"), Design)
