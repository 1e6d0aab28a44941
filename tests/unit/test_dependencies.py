"""What pyproject.toml declares is what is used, what was tested, and what is installed."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_TESTED = {"bnb": "4-bit weights need a CUDA device"}
"""Extras that were never installed where these tests run, and why; their versions have no upper bound."""
EXTRAS = [line for name, lines in PROJECT["optional-dependencies"].items() if name not in NOT_TESTED for line in lines]
DECLARED = {
    canonicalize_name(requirement.name): requirement
    for requirement in map(Requirement, [*PROJECT["dependencies"], *EXTRAS])
}
TESTED = {
    canonicalize_name(name): Version(version)
    for name, _, version in (
        line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
}
PACKAGES_OF = {
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "faiss": "faiss-cpu",
    "llama_index": "llama-index-core",
    "opentelemetry": "fastapi",  # an extra of FastAPI
}
"""Distributions whose module has another name."""

ELSEWHERE = {"llama-index-core"}
"""Tested in the environment of ``make interop`` alone."""


@pytest.mark.parametrize("name", DECLARED)
def test_bounds_end_at_the_minor_version_that_was_tested(name: str) -> None:
    tested, bounds = TESTED[name], {bound.operator: Version(bound.version) for bound in DECLARED[name].specifier}
    assert set(bounds) == {">=", "<"}
    assert bounds["<"] == Version(f"{tested.major}.{tested.minor + 1}"), f"{name} was tested with {tested}"
    assert bounds[">="] <= tested


@pytest.mark.parametrize("name", sorted(set(DECLARED) - ELSEWHERE))
def test_what_is_installed_lies_within_the_bounds(name: str) -> None:
    installed = Version(metadata.version(name))
    assert installed.base_version in DECLARED[name].specifier, f"{name} {installed}, wanted {DECLARED[name]}"


def test_every_library_that_is_imported_is_declared() -> None:
    imported = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            imported |= {name.partition(".")[0] for name in names}
    foreign = imported - set(sys.stdlib_module_names) - {"poolwise"}
    used = {canonicalize_name(PACKAGES_OF.get(name, name)) for name in foreign}
    # What sentence-transformers' trainer needs, and imports only once it trains.
    assert used | {"accelerate"} == set(DECLARED)


def pinned(name: str) -> dict[str, Version]:
    lines = [line for line in (ROOT / name).read_text().splitlines() if line[:1].isalnum()]
    return {
        canonicalize_name(name): Version(version.split()[0]) for name, _, version in (x.partition("==") for x in lines)
    }


def test_the_lock_has_the_tested_versions_with_hashes() -> None:
    """``make lock`` writes it."""
    lock = pinned("requirements.lock")
    assert {name: lock.get(name) for name in DECLARED} == {name: TESTED[name] for name in DECLARED}
    blocks = (ROOT / "requirements.lock").read_text().split("\n")
    starts = [place for place, line in enumerate(blocks) if line[:1].isalnum()]
    assert len(starts) == len(lock) and all("--hash=sha256:" in blocks[place + 1] for place in starts)


def test_the_newest_versions_are_allowed() -> None:
    """``make lock`` writes them."""
    newest = pinned("constraints-newest.txt")
    assert set(DECLARED) <= set(newest)
    assert [name for name in DECLARED if newest[name].base_version not in DECLARED[name].specifier] == []
