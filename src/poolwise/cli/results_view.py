"""Results on a terminal: the table, the verdicts, and what they rest on."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from poolwise.records import Comparison, StudyResults, load_record


def print_study(path: Path) -> None:
    """Print the summary of a study's ``results.json``."""
    print_comparison(load_record(StudyResults, path).results.comparison)


def print_comparison(comparison: Comparison) -> None:
    """Print means by category, then a verdict for each, then the notes."""
    console = Console(soft_wrap=True)
    console.print(means_table(comparison))
    for item in comparison.recommendations:
        console.print(f"{item.category}: {item.sentence}", highlight=False, markup=False)
    if comparison.family:
        console.print(f"\n{comparison.family}", highlight=False, markup=False)
    for note in comparison.notes:
        console.print(f"note: {note}", highlight=False, markup=False)


def means_table(comparison: Comparison) -> Table:
    """Return the table of category means: the reference absolute, all others as differences with their stars."""
    categories = list(dict.fromkeys(mean.category for mean in comparison.means))
    cells = {(mean.name, mean.category): mean.mean for mean in comparison.means}
    stars = {(c.a, c.category): _stars(c.p, c.p_holm) for c in comparison.contrasts if c.b == comparison.reference}
    table = Table("", *categories, box=None)
    for name in dict.fromkeys(mean.name for mean in comparison.means):
        row = []
        for category in categories:
            base = cells.get((comparison.reference or "", category))
            score = cells.get((name, category))
            if score is None:
                row.append("-")
            elif base is None or name == comparison.reference:
                row.append(f"{score:.4f}")
            else:
                row.append(f"{score - base:+.4f}{stars.get((name, category), '')}")
        table.add_row(name, *row)
    table.caption = "* p < 0.05, ** p < 0.05 after Holm's correction"
    return table


def _stars(p: float | None, p_holm: float | None) -> str:
    if p_holm is not None and p_holm < 0.05:
        return "**"
    return "*" if p is not None and p < 0.05 else ""
