"""The output of a study or a screen: its results as JSON, or as text with the path of the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from poolwise.cli.options import is_verbose, show, show_json
from poolwise.report import study_text
from poolwise.report.budgets import HTML, budgets_text
from poolwise.results import StudyResults
from poolwise.study.study import report_path

_SCREENS = {"screen": "heads on a frozen base", "trial": "designs at one seed, with half of max_items"}


def print_results(found: StudyResults, out: Path, as_json: bool) -> None:
    """Print the results of the study in ``out`` and the path of the report; as JSON, print ``results.json``."""
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
        return
    if title := _SCREENS.get(found.results.kind):
        show(f"SCREEN: {title}, to choose candidates for a study\n")
    show(study_text(found, out, verbose=is_verbose()))
    show(f"\nreport: {report_path(out)}")


def print_budgets(found: Mapping[int, StudyResults], out: Path, as_json: bool) -> None:
    """Print scores and recommendations at each budget; as JSON, the ``results.json`` of each by its steps."""
    if as_json:
        show_json({steps: study.model_dump(mode="json") for steps, study in found.items()})
        return
    show(budgets_text(found))
    show(f"\nreport: {out / HTML}")
