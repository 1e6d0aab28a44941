"""Make the page docs/architecture.md and its two diagrams from the code."""

from __future__ import annotations

import ast
from collections import Counter
from html import escape
from pathlib import Path

from _rooms import PACKAGE, ROOMS, ROOT, WAY, iter_arrows, module_of, room_of

IMAGES = ROOT / "docs" / "images"
ROW, GAP, WIDTH, LEFT = 46, 10, 760, 12
FLOORS: list[tuple[str, list[str]]] = [
    ("what users call", ["cli", "api"]),
    ("studies and screens", ["study", "screening", "jobs"]),
    ("reports", ["report"]),
    ("scores and tests", ["tasks", "stats", "foreign"]),
    ("embeddings", ["encoding", "training", "checks"]),
    ("designs", ["models"]),
    ("data and fast forwards", ["data", "embedded", "kernels"]),
    ("values", ["config", "design", "records", "results"]),
    ("files and libraries", ["storage", "hub", "ranks", "upstream", "errors"]),
]
"""The floors of the picture, highest first; a room imports from its own floor's list and from lower floors."""


def summary_of(path: Path) -> str:
    """Return the first line of a file's docstring, without its full stop."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0].rstrip(".")


def tree_text() -> str:
    """Return the package's files, one line each: the first line of its docstring."""
    lines = []
    for path in sorted(PACKAGE.rglob("*.py"), key=_folders_last):
        parts = path.relative_to(PACKAGE).parts
        is_folder = parts[-1] == "__init__.py"
        name = "/".join(parts[:-1]) + "/" if is_folder else "  " * (len(parts) - 1) + parts[-1]
        lines.append(f"{name if parts != ('__init__.py',) else '__init__.py':28} {summary_of(path)}")
    return "\n".join(lines)


def _folders_last(path: Path) -> tuple[bool, Path, bool, str]:
    return (path.parent.name != "poolwise", path.parent, path.name != "__init__.py", path.name)


def sizes() -> Counter[str]:
    """Return the lines of code of every part of the package."""
    total: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        total[path.relative_to(PACKAGE).parts[0].removesuffix(".py")] += len(path.read_text().splitlines())
    return total


def rooms_svg() -> str:
    """Return the picture of the rooms: floors from top to bottom, a room as wide as its code is long."""
    known, lines = sizes(), []
    for place, (title, rooms) in enumerate(FLOORS):
        rooms = [room for room in rooms if known[room]]
        top, x = place * (ROW + GAP) + 8, 190.0
        lines.append(_text(LEFT, top + 28, title, "floor"))
        share = (WIDTH - x - GAP * len(rooms)) / sum(max(known[room], 700) for room in rooms)
        for room in rooms:
            wide = max(known[room], 700) * share
            lines.append(f'<rect x="{x:.0f}" y="{top}" width="{wide:.0f}" height="{ROW}" rx="6"/>')
            lines.append(_text(x + 8, top + 20, room, "room"))
            lines.append(_text(x + 8, top + 36, f"{known[room]:,} lines", "size"))
            x += wide + GAP
    return _svg("\n".join(lines), WIDTH + 12, len(FLOORS) * (ROW + GAP) + 12, "Rooms of poolwise, imports point down")


def way_svg() -> str:
    """Return the picture of the data's way: what it is at each step, and the function that takes it on."""
    lines = []
    for place, step in enumerate(WAY):
        top = place * 64 + 8
        lines.append(f'<rect x="{LEFT}" y="{top}" width="370" height="34" rx="6"/>')
        lines.append(_text(LEFT + 10, top + 22, f"{step.what} {step.shape}".strip(), "room"))
        if step.function:
            lines.append(f'<path d="M{LEFT + 185} {top + 34}v24m-5 -7l5 7l5 -7"/>')
            lines.append(_text(LEFT + 202, top + 52, step.function, "size"))
    return _svg("\n".join(lines), 600, len(WAY) * 64 - 10, "The way of the data: texts to a report")


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}">{escape(text)}</text>'


_STYLE = """<style>
svg{background:#fff}
text{font-family:system-ui,sans-serif;fill:#1a2b3c}
.floor{font-size:13px;fill:#5a6a7a}.room{font-size:14px;font-weight:600}.size{font-size:11px;fill:#5a6a7a}
rect{fill:#e8eef6;stroke:#8aa4c2}path{fill:none;stroke:#8aa4c2;stroke-width:1.5}
</style>"""


def _svg(body: str, width: float, height: float, title: str) -> str:
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(title)}</title>'
    return f"{opening}\n{_STYLE}\n{body}\n</svg>\n"


_INTRODUCTION = (
    "poolwise is one Python package of rooms: folders, and single files at the lowest floor. A room imports only rooms "
    "below it. `tests/unit/test_layers.py` reads every import, those inside functions too, and fails on one that "
    "points up."
)
_BESIDE = (
    "Beside the package: `recipes/` holds studies to start from, `benchmarks/` measures each claim of speed or memory "
    "as a ratio, `scripts/` makes pages from code and records, `tests/` has the kinds `unit`, `property`, `parity` and "
    "`e2e`, and mirrors the package."
)


def page_text() -> str:
    """Return docs/architecture.md."""
    imports: dict[str, set[str]] = {}
    for arrow in iter_arrows():
        imports.setdefault(arrow.here, set()).add(arrow.to)
    rows = []
    for room in [room for rooms in reversed(ROOMS) for room in rooms]:
        folder = PACKAGE / room.replace(".", "/")
        home = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        below = ", ".join(f"`{to}`" for to in sorted(imports.get(room, ())) if to)
        rows.append(f"| `{room}` | {summary_of(home)} | {below or '-'} |")
    return "\n".join(
        [
            "# Architecture",
            "",
            _INTRODUCTION,
            "",
            "![The rooms, imports point down](images/rooms.svg)",
            "",
            "The way of the data from texts to a report, with the function that takes each step:",
            "",
            "![The way of the data](images/data-way.svg)",
            "",
            "Letters in shapes: B texts, T tokens, L layers, D hidden size, N documents or texts, I items.",
            "",
            "## Rooms",
            "",
            "Highest first.",
            "",
            "| room | what it holds | imports |",
            "|---|---|---|",
            *rows,
            "",
            "## Files",
            "",
            "Each line is the first line of the file's docstring.",
            "",
            "```",
            tree_text(),
            "```",
            "",
            _BESIDE,
            "",
        ]
    )


__all__ = ["IMAGES", "module_of", "page_text", "room_of", "rooms_svg", "tree_text", "way_svg"]
