"""The rooms of the package from the lowest level up, and the data flow through them.

The architecture page shows them; ``tests/unit/test_layers.py`` enforces their order.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "poolwise"

ROOMS: list[list[str]] = [
    ["crashes", "freed_memory", "hangup", "errors", "wording"],
    ["upstream"],
    ["storage"],
    ["hub", "ranks", "lexical"],
    ["attentions", "base_dtypes"],
    ["layer_subsets"],
    ["design"],
    ["records"],
    ["results"],
    ["overrides", "recipe_paths"],
    ["recipe_keys"],
    ["config"],
    ["prompts", "cards"],
    ["embedded", "base_sources"],
    ["data", "kernels"],
    ["models"],
    ["encoding", "publish", "export"],
    ["training", "mining", "checks"],
    ["tasks", "stats.core", "imports"],
    ["stats.designs"],
    ["stats"],
    ["foreign"],
    ["report"],
    ["jobs"],
    ["study", "corpus"],
    ["screening", "search", "experiments"],
    ["serving", "integrity"],
    ["api"],
    ["cli"],
    ["__main__"],
]
"""A room imports lower ones only; rooms side by side do not know each other."""
LEVELS = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}


def room_of(module: str) -> str:
    """Return the room that a dotted name lies in: the longest that has a level, or the first part."""
    pieces = module.split(".")[1:]
    names = [".".join(pieces[:count]) for count in range(len(pieces), 0, -1)]
    return next((name for name in names if name in LEVELS), pieces[0] if pieces else "")


@dataclass(frozen=True)
class Arrow:
    """One import: from a room, to a room, in a file."""

    here: str
    to: str
    path: str


def module_of(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def iter_arrows() -> Iterator[Arrow]:
    """Yield every import between rooms, those inside functions too."""
    for path in sorted(PACKAGE.rglob("*.py")):
        here = room_of(module_of(path))
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.startswith("poolwise.") and (to := room_of(name)) != here:
                    yield Arrow(here, to, str(path.relative_to(ROOT)))


@dataclass(frozen=True)
class Step:
    """One step of the data's way: what goes in, the function that takes it on, and where that stands."""

    what: str
    shape: str
    function: str


WAY: list[Step] = [
    Step("texts", "", "models.tokens.TextTokens.encode"),
    Step("tokens", "(B T)", "models.backbone.Backbone.forward"),
    Step("layer states, token states", "(B L D), (B T D)", "models.pooling.base.Pooling.forward"),
    Step("embeddings", "(B D)", "training.train.train_model"),
    Step("embeddings of a task", "(N D)", "tasks.evaluate.evaluate_task"),
    Step("item scores", "(I)", "stats.designs.compare.compare_runs"),
    Step("comparison", "", "report.write.write_reports"),
    Step("report", "", ""),
]
"""From texts to a report. ``train_model`` and ``evaluate_task`` both start from embeddings."""
