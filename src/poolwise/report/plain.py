"""A comparison as plain text for a terminal, as Markdown, and as the JSON of ``compare --json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.report.amounts import MINUS, difference_text, interval_text, p_text
from poolwise.report.benchmark import benchmark_lines, benchmark_table
from poolwise.report.blocks import Cell, Column, Table
from poolwise.report.document import comparison_document
from poolwise.report.markdown import markdown_document
from poolwise.report.tables import paper_table
from poolwise.report.view import category_title, runs_view, stars
from poolwise.results import Comparison, Contrast

_LISTED = {"contrasts", "tasks_like_these", "seed_contrasts", "task_contrasts"}


def comparison_text(comparison: Comparison) -> str:
    """Return table, contrasts, verdicts, family, methods and notes as plain text."""
    table = paper_table(runs_view(comparison, ()))
    verdicts = [
        f"{category_title(r.category)}{'' if r.decided else ' (not decided)'}: {r.sentence}"
        for r in comparison.recommendations
    ]
    parts = [
        _benchmark(comparison),
        f"{table.caption}\n{plain_table(table)}",
        table.note,
        _contrasts(comparison.contrasts),
        "\n".join(verdicts),
        comparison.rule,
        comparison.family,
    ]
    return "\n\n".join(part for part in [*parts, *comparison.methods, *comparison.notes] if part)


def _benchmark(comparison: Comparison) -> str:
    found = comparison.benchmark
    if found is None:
        return ""
    table = benchmark_table(found)
    if not found.rows:
        return "\n".join([f"{table.caption}: no model has all of them", *benchmark_lines(found)])
    parts = [f"{table.caption}\n{plain_table(table)}", table.note, "\n".join(benchmark_lines(found)), found.method]
    return "\n\n".join(part for part in parts if part)


def _contrasts(contrasts: Sequence[Contrast]) -> str:
    """The primary family in six columns; the JSON has the other fields of each contrast."""
    columns = ["Category", "Contrast", "Difference", "Simultaneous interval", "p (Holm)", "Verdict"]
    rows = [
        [
            Cell(category_title(c.category)),
            Cell(f"{c.a} {MINUS} {c.b}"),
            Cell(difference_text(c.difference) + stars(c)),
            Cell(interval_text(c.simultaneous)),
            Cell(p_text(c.p_holm)),
            Cell(c.verdict or "–"),
        ]
        for c in contrasts
    ]
    head = [Column(title, is_number=title in columns[2:5]) for title in columns]
    return f"Contrasts, the primary family\n{plain_table(Table('contrasts', '', head, rows))}" if rows else ""


def comparison_markdown(comparison: Comparison) -> str:
    """Return verdicts, tables, tests and methods of a comparison as Markdown."""
    return markdown_document(comparison_document(comparison))


def comparison_json(comparison: Comparison, inputs: Sequence[Mapping[str, object]] = ()) -> dict[str, object]:
    """Return what ``compare --json`` prints: all numbers, with all contrasts in one list, each with its family.

    Args:
        inputs: what was detected in each input, as reported by the reader of the inputs.
    """
    families = {
        "primary": comparison.contrasts,
        "tasks_like_these": comparison.tasks_like_these,
        "seeds": comparison.seed_contrasts,
        "within_tasks": comparison.task_contrasts,
    }
    others = comparison.model_dump(mode="json", exclude=_LISTED)
    return {
        "inputs": [dict(entry) for entry in inputs],
        "comparisons": [
            contrast.model_dump(mode="json") | {"family": name}
            for name, contrasts in families.items()
            for contrast in contrasts
        ],
        **others,
    }


def plain_table(table: Table) -> str:
    """Return a table in aligned columns: numbers right-aligned, small second lines in brackets."""
    head = [f"{c.title} ({c.note})" if c.note else c.title for c in table.columns]
    rows = [[f"{c.text} ({c.note})" if c.note else c.text for c in row] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in [head, ["-" * width for width in widths], *rows]:
        cells = [
            text.rjust(width) if column.is_number else text.ljust(width)
            for text, width, column in zip(row, widths, table.columns, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
