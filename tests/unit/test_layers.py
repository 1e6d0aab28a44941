"""Modules import downwards only, and the light ones never import torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

PACKAGE = ROOT / "src" / "poolwise"
ROOMS = [
    ["errors"],
    ["storage"],
    ["hub"],
    ["attentions"],
    ["layer_subsets"],
    ["design"],
    ["records"],
    ["results"],
    ["config"],
    ["embedded"],
    ["data", "kernels"],
    ["models"],
    ["encoding"],
    ["training"],
    ["tasks", "stats.core"],
    ["stats.designs", "foreign"],
    ["stats"],
    ["report"],
    ["jobs"],
    ["study"],
    ["screening"],
    ["cli"],
]
"""From the lowest up. A room imports lower ones only; rooms side by side do not know each other."""
LEVELS = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
LIGHT = ["poolwise", "poolwise.config", "poolwise.foreign", "poolwise.stats", "poolwise.report", "poolwise.cli.main"]


def room_of(module: str) -> str:
    """Return the room that a dotted name lies in: the longest that has a level, or the first part."""
    pieces = module.split(".")[1:]
    names = [".".join(pieces[:count]) for count in range(len(pieces), 0, -1)]
    return next((name for name in names if name in LEVELS), pieces[0] if pieces else "")


def arrows() -> list[tuple[str, str, str]]:
    """Return (room, imported room, file) of every import, those inside functions too."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        here = room_of(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"))
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names = [name for name in names if name.startswith("poolwise.")]
            found += [(here, room_of(name), str(path.relative_to(ROOT))) for name in names]
    return found


def test_every_room_has_a_level() -> None:
    parts = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__init__", "__pycache__"} <= set(LEVELS)


def test_imports_point_downwards() -> None:
    wrong = [
        f"{path} ({here}) imports {to}"
        for here, to, path in arrows()
        if here and here != to and LEVELS[to] >= LEVELS[here]
    ]
    assert not wrong


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_do_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'mteb') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(ROOT))
    assert found.stdout.strip() == "[]"
