"""A plain table on standard output: columns of equal width, which scripts can cut."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.cli.options import show
from poolwise.wording import visible


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below a head, each column as wide as its longest cell."""
    lines = [[visible(cell) for cell in line] for line in (head, *rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    for line in lines:
        show("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
