"""The end of a study or a screen: its results as JSON, or as text with the path of the report."""

from __future__ import annotations

import sys
from pathlib import Path

from poolwise.records import load_record
from poolwise.report import comparison_text
from poolwise.results import StudyResults


def print_results(folder: Path, report: Path, as_json: bool) -> None:
    """Print the results in ``folder`` and the path of their report."""
    if as_json:
        sys.stdout.write((folder / "results.json").read_text())
        return
    results = load_record(StudyResults, folder / "results.json").results
    if results.kind == "screen":
        print("SCREEN: heads on a frozen base, to choose candidates from\n")
    print(comparison_text(results.comparison))
    print(f"\nreport: {report}")
