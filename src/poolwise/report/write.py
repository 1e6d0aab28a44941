"""Write reports to disk: an HTML file, a Markdown file and LaTeX tables in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from poolwise.records import Run
from poolwise.report.blocks import Document, Table
from poolwise.report.card import card_table
from poolwise.report.document import comparison_document, study_document
from poolwise.report.evidence import contrast_table
from poolwise.report.latex import latex_document
from poolwise.report.markdown import markdown_document
from poolwise.report.matrix import decided_uses, has_matrix, pair_matrix
from poolwise.report.page import html_document
from poolwise.report.tables import cost_table, paper_table
from poolwise.report.view import View, runs_view, study_view
from poolwise.results import Comparison, StudyResults
from poolwise.storage.checksums import add_checksums
from poolwise.storage.fingerprints import SUMS
from poolwise.storage.lock import locked
from poolwise.storage.whole_files import write_text

REPORTS = ("report.md", "report.tex", "report.html")


def write_reports(study: StudyResults, folder: Path) -> Path:
    """Write report.html, report.md and report.tex of a study into ``folder``; return the path of the HTML.

    If the folder has checksums of its files, those of the reports are written too.
    """
    path = _write(study_document(study), study_view(study), folder)
    if (folder / SUMS).is_file():
        add_checksums(folder, [folder / name for name in REPORTS])
    return path


def write_comparison_report(
    comparison: Comparison, runs: Sequence[Run], folder: Path, command: str = "", inputs: Sequence[str] = ()
) -> Path:
    """Write report.html, report.md and report.tex of a comparison of any runs; return the path of the HTML.

    Args:
        runs: the runs that were compared; without them, scores by task and costs are left out.
        command: the command that repeats the comparison. inputs: what was detected in each input, in words.
    Raises: ConfigError where another process writes there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        return _write(comparison_document(comparison, runs, command, inputs), runs_view(comparison, runs), folder)


def _paper_tables(view: View) -> list[Table]:
    """The tables for a paper; the description of each test is in the methods, not in a column."""
    comparison = view.comparison
    contrasts = contrast_table(comparison.contrasts, "tab-contrasts", "Contrasts", comparison.family)
    num_kept = [column.title for column in contrasts.columns].index("Test")
    contrasts = replace(
        contrasts, columns=contrasts.columns[:num_kept], rows=[row[:num_kept] for row in contrasts.rows]
    )
    pairs = [pair_matrix(view, category) for category in decided_uses(view)] if has_matrix(view) else []
    tables = (card_table(view), paper_table(view), *pairs, contrasts, cost_table(view))
    return [table for table in tables if table and table.rows]


def _write(document: Document, view: View, folder: Path) -> Path:
    texts = {
        "report.md": markdown_document(document),
        "report.tex": latex_document(_paper_tables(view)),
        "report.html": html_document(document),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return folder / "report.html"
