"""The table of a benchmark of MTEB: ranks with intervals, means, and groups of models that are not separated."""

from __future__ import annotations

from dataclasses import replace

from poolwise.report.amounts import score_text
from poolwise.report.blocks import Block, Bullets, Cell, Column, Csv, Paragraph, Table
from poolwise.results import BenchmarkRow, BenchmarkTable, Comparison

MOST_GROUPS = 6
"""With more groups, a column gives the ranks from which a model is not separated: letters and lists fill pages."""


def benchmark_blocks(comparison: Comparison) -> list[Block]:
    """Return the table, the groups, the models without a rank and the method; nothing if no benchmark was asked for."""
    found = comparison.benchmark
    if found is None:
        return []
    blocks: list[Block] = [benchmark_table(found)] if found.rows else []
    lines = benchmark_lines(found)
    return [*blocks, *([Bullets(lines)] if lines else []), *([Paragraph(found.method)] if found.rows else [])]


def benchmark_table(found: BenchmarkTable) -> Table:
    """Return one row per ranked model, the best first; the second line of a rank is its interval."""
    kinds = list(found.types)
    columns = [
        Column("Model"),
        Column("Rank (Borda)", note="95% interval", is_number=True),
        Column("Group") if _has_letters(found) else Column("Not separated", note="ranks"),
        Column("Mean over tasks", is_number=True),
        Column("Mean over types", is_number=True),
        *(Column(kind, note=_tasks(found.types[kind]), is_number=True) for kind in kinds),
    ]
    return Table(
        "tab-benchmark",
        f"{found.benchmark}: {_tasks(found.num_tasks)} of {len(kinds)} type{'' if len(kinds) == 1 else 's'}",
        columns,
        [_row(row, found) for row in found.rows],
        csv=_csv(found),
        note=_note(found),
        is_sortable=True,
    )


def narrow_table(found: BenchmarkTable) -> Table:
    """Return the table for a terminal of 80 columns: without the scores by type."""
    table = benchmark_table(found)
    titles = ("Model", "Rank (95%)", "Group" if _has_letters(found) else "Tied with", "Tasks", "Types")
    columns = [replace(column, title=title, note="") for title, column in zip(titles, table.columns, strict=False)]
    note = "Means over tasks and over types; the scores by type are in the report, and here with --verbose."
    return replace(
        table, columns=columns, rows=[row[: len(titles)] for row in table.rows], note=f"{table.note} {note}".strip()
    )


def benchmark_lines(found: BenchmarkTable) -> list[str]:
    """Return which models are not separated, which have no rank and why, and the notes."""
    lines = [f"Not separated: {', '.join(group)}." for group in found.groups if _has_letters(found)]
    if len(found.rows) > 1 and not found.groups:
        lines.append("Every model is separated from every other.")
    for name, lacking in found.incomplete.items():
        shown = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
        lines.append(f"{name} has no rank: it lacks {len(lacking)} of {found.num_tasks} tasks ({shown}).")
    return [*lines, *found.notes]


def _row(row: BenchmarkRow, found: BenchmarkTable) -> list[Cell]:
    interval = "" if row.rank_interval is None else f"{row.rank_interval[0]} to {row.rank_interval[1]}"
    scores = [row.mean, row.mean_of_types, *(row.by_type[kind] for kind in found.types)]
    return [
        Cell(row.name),
        Cell(str(row.rank), sort=float(row.rank), note=interval),
        Cell(_letters(row.name, found) if _has_letters(found) else _ranks(row.name, found)),
        *(Cell(score_text(score), sort=score) for score in scores),
    ]


def _has_letters(found: BenchmarkTable) -> bool:
    return len(found.groups) <= MOST_GROUPS


def _note(found: BenchmarkTable) -> str:
    if not found.groups:
        return ""
    if _has_letters(found):
        return "Models that share a letter are not separated."
    return "A model is not separated from those with the ranks beside its own."


def _ranks(name: str, found: BenchmarkTable) -> str:
    """Return the first and the last rank from which a model is not separated; empty if it is from all."""
    mine = [group for group in found.groups if name in group]
    ranks = {row.name: row.rank for row in found.rows}
    return f"{ranks[mine[0][0]]} to {ranks[mine[-1][-1]]}" if mine else ""


def _letters(name: str, found: BenchmarkTable) -> str:
    """Return the letters of a model's groups; after z come aa, ab ..."""
    return " ".join(_letter(number) for number, group in enumerate(found.groups) if name in group)


def _letter(number: int) -> str:
    first, last = divmod(number, 26)
    return (_letter(first - 1) if first else "") + chr(ord("a") + last)


def _tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'}"


def _csv(found: BenchmarkTable) -> Csv:
    kinds = list(found.types)
    return Csv(
        ["model", "rank", "rank_low", "rank_high", "points", "mean", "mean_of_types", *kinds],
        [
            [
                row.name,
                row.rank,
                *(row.rank_interval or (None, None)),
                row.points,
                row.mean,
                row.mean_of_types,
                *(row.by_type[kind] for kind in kinds),
            ]
            for row in found.rows
        ],
    )
