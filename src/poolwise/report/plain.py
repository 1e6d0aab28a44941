"""A comparison as plain text for a terminal, as Markdown, and as the JSON of ``compare --json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from poolwise.records import Run
from poolwise.report.amounts import MINUS, difference_text, interval_text, p_text, score_text
from poolwise.report.benchmark import benchmark_lines, benchmark_table, narrow_table
from poolwise.report.blocks import CHIPS, Card, Cell, Column, Table
from poolwise.report.card import decision_cards
from poolwise.report.decided import decided_sentences
from poolwise.report.dimensions import dimension_means, dimension_table
from poolwise.report.document import WITHIN_NOTE, comparison_document
from poolwise.report.evidence import verdict_cell
from poolwise.report.markdown import markdown_document
from poolwise.report.matrix import LEGEND, decided_uses, group_lines, has_matrix, pair_matrix
from poolwise.report.provenance import looks_text
from poolwise.report.tables import BOLD, paper_table
from poolwise.report.view import View, category_title, runs_view, stars, study_view
from poolwise.report.within import within_contrasts
from poolwise.results import Comparison, Contrast, DimensionMean, StudyResults

_LISTED = {"contrasts", "tasks_like_these", "seed_contrasts", "task_contrasts"}
MAX_LINES = 24
"""More contrasts than this are not listed in a terminal, only those with a verdict."""
MAX_NOTES = 4
WIDTH = 80
"""Characters in a line of a terminal; a wider table of a benchmark leaves out the scores by type."""


def comparison_text(comparison: Comparison, runs: Sequence[Run] = (), *, verbose: bool = False) -> str:
    """Return a comparison as plain text: scores, pairs, what was decided, and the decision at the end.

    Args:
        runs: the runs that were compared; the decision then has costs and folders.
        verbose: also all contrasts, all notes, the rule and the methods, before the decision.
    """
    return _text(runs_view(comparison, runs), verbose, is_screen=False, dimensions=dimension_means(runs))


def study_text(study: StudyResults, folder: Path, *, verbose: bool = False) -> str:
    """Return the comparison of a study, or of a screen, as plain text; ``folder`` is the study's."""
    view = study_view(study)
    view = replace(view, folders={name: str(folder / path) for name, path in view.folders.items()})
    found = study.results.sequential
    looks = f"Looks: {looks_text(found)}." if found else ""
    results = study.results
    return _text(view, verbose, looks, is_screen=results.kind == "screen", dimensions=results.dimensions)


def _text(
    view: View, verbose: bool, looks: str = "", *, is_screen: bool, dimensions: Sequence[DimensionMean] = ()
) -> str:
    comparison = view.comparison
    table = paper_table(view)
    # A terminal is narrow and has no bold: no second line in the column titles.
    table = replace(
        table, columns=[replace(c, note="") for c in table.columns], note=table.note.replace(f"{BOLD} ", "")
    )
    methods = [comparison.rule, comparison.family, *comparison.methods] if verbose else []
    cards = decision_cards(view, is_screen=is_screen)
    parts = [
        _benchmark(comparison, verbose),
        f"{table.caption}\n{plain_table(table)}",
        table.note,
        _dimensions(dimensions),
        *(_matrices(view) if has_matrix(view) and not verbose else [_contrasts(comparison.contrasts, verbose)]),
        *decided_sentences(view),
        looks,
        _within(view, verbose),
        *_notes(comparison.notes, verbose),
        *methods,
        *(_card(card) for card in (cards.items if cards else ())),
    ]
    return "\n\n".join(part for part in parts if part)


def _dimensions(means: Sequence[DimensionMean]) -> str:
    table = dimension_table(means)
    return "" if table is None else f"{table.caption}\n{plain_table(table)}\n\n{table.note}"


def _benchmark(comparison: Comparison, verbose: bool) -> str:
    found = comparison.benchmark
    if found is None:
        return ""
    table = benchmark_table(found)
    if not found.rows:
        return "\n".join([f"{table.caption}: no model has all of them", *benchmark_lines(found)])
    if not verbose and max(map(len, plain_table(table).splitlines())) > WIDTH:
        table = narrow_table(found)
    parts = [f"{table.caption}\n{plain_table(table)}", table.note, "\n".join(benchmark_lines(found)), found.method]
    return "\n\n".join(part for part in parts if part)


def _contrasts(contrasts: Sequence[Contrast], verbose: bool) -> str:
    """The primary family in six columns; the JSON has the other fields of each contrast."""
    if verbose or len(contrasts) <= MAX_LINES:
        return _contrast_lines(contrasts, "Contrasts, the primary family")
    shown = [c for c in contrasts if c.verdict in ("better", "worse", "equal")]
    left = len(contrasts) - len(shown)
    lines = _contrast_lines(shown, "Contrasts with a verdict")
    return "\n".join(part for part in (lines, f"{left} contrasts not decided: see the report, or --verbose.") if part)


def _contrast_lines(contrasts: Sequence[Contrast], title: str, interval: str = "Simultaneous interval") -> str:
    # p, better and worse of a test over tasks are about the typical task, so it has its own column beside the mean.
    has_typical = any(c.typical is not None for c in contrasts)
    columns = ["Category", "Contrast", "Difference", interval, *(["Typical task"] if has_typical else [])]
    columns += ["p (Holm)", "Verdict"]
    rows = [
        [
            Cell(c.task or category_title(c.category)),
            Cell(f"{c.a} {MINUS} {c.b}"),
            Cell(difference_text(c.difference) + stars(c)),
            Cell(interval_text(c.simultaneous or (c.interval if c.task else None))),
            *([Cell(_typical(c))] if has_typical else []),
            Cell(p_text(c.p_holm)),
            verdict_cell(c) or Cell("–"),
        ]
        for c in contrasts
    ]
    head = [Column(title, is_number=title in columns[2:-1]) for title in columns]
    return f"{title}\n{plain_table(Table('contrasts', '', head, rows))}" if rows else ""


def _typical(c: Contrast) -> str:
    if c.typical is None:
        return "–"
    interval = f" {interval_text(c.typical_simultaneous)}" if c.typical_simultaneous else ""
    return f"{difference_text(c.typical)}{interval}"


def _within(view: View, verbose: bool) -> str:
    """Differences within tasks where no test over tasks can decide: one task or one seed."""
    found = within_contrasts(view)
    shown = found if verbose else found[:MAX_LINES]
    text = _contrast_lines(shown, f"Within single tasks: {WITHIN_NOTE}", "Interval")
    left = len(found) - len(shown)
    return f"{text}\n{left} more in the report, or with --verbose." if left else text


def _matrices(view: View) -> list[str]:
    """A matrix of pairs and the groups that are not separated, for each use in which anything was decided."""
    texts = []
    for category in decided_uses(view):
        table = pair_matrix(view, category)
        texts.append("\n".join([table.caption, plain_table(table), *group_lines(view, category)]))
    silent = [category_title(category) for category in view.uses if category not in decided_uses(view)]
    texts = [f"All pairs, row against column: {LEGEND}", *texts] if texts else []
    return [*texts, f"No pair is decided in: {', '.join(silent)}."] if silent else texts


def _notes(notes: Sequence[str], verbose: bool) -> list[str]:
    if verbose or len(notes) <= MAX_NOTES:
        return list(notes)
    return [*notes[:MAX_NOTES], f"{len(notes) - MAX_NOTES} more notes in the report, or with --verbose."]


def _card(card: Card) -> str:
    """One decision in a few lines, its warning first."""
    scores = ", ".join(f"{name} {score_text(score)}" for name, score in card.scores)
    lines = [
        f"== {card.title}: {CHIPS[card.kind].upper() if card.kind == 'stop' else CHIPS[card.kind]} ==",
        f"WARNING: {card.warning}" if card.warning else "",
        f"{card.label}: {card.name}",
        f"Scores: {scores}" if scores else "",
        card.sentence,
        *(f"{term}: {value}" for term, value in card.details),
        *((f"    {line}" for line in [*card.python.splitlines(), card.command] if line) if card.is_main else ()),
    ]
    return "\n".join(line for line in lines if line)


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
