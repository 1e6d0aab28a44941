"""Modules import downwards only, and the light ones never import torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

PACKAGE = ROOT / "src" / "poolwise"
LEVELS = {
    "errors": 0,
    "attentions": 0,
    "layer_subsets": 0,
    "yaml_text": 0,
    "hub": 0,
    "design": 0,
    "config": 0,
    "records": 0,
    "results": 0,
    "data": 1,
    "foreign": 1,
    "modules": 2,
    "screening": 5,
    "encoding": 3,
    "training": 3,
    "tasks": 4,
    "stats": 4,
    "report": 5,
    "study": 6,
    "cli": 7,
}
LEVEL_0_ORDER = ["errors", "yaml_text", "hub", "attentions", "layer_subsets", "design", "records", "results", "config"]
LIGHT = ["poolwise", "poolwise.config", "poolwise.foreign", "poolwise.stats", "poolwise.report", "poolwise.cli.main"]


def part(module: str) -> str | None:
    pieces = module.split(".")
    return pieces[1] if pieces[0] == "poolwise" and len(pieces) > 1 else None


def arrows() -> list[tuple[str, str, str]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [(here, part(name) or "", str(path.relative_to(ROOT))) for name in names if part(name)]
    return found


def test_every_part_has_a_level() -> None:
    parts = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__init__", "__pycache__", "assets", "py.typed"} <= set(LEVELS)


def test_imports_point_downwards() -> None:
    wrong = [
        f"{path} imports poolwise.{to}"
        for here, to, path in arrows()
        if here in LEVELS and here != to and LEVELS.get(to, 0) >= max(LEVELS[here], 1)
    ]
    assert not wrong


def test_level_0_imports_in_its_own_order() -> None:
    order = {name: position for position, name in enumerate(LEVEL_0_ORDER)}
    wrong = [(here, to) for here, to, _ in arrows() if here in order and here != to and order.get(to, 99) > order[here]]
    assert not wrong


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_do_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'mteb') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(ROOT))
    assert found.stdout.strip() == "[]"
