"""The output of a study or a screen: its results as JSON, or as text with the path of the report."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from poolwise.cli.options import is_verbose
from poolwise.report import study_text
from poolwise.report.budgets import HTML, budgets_text
from poolwise.results import StudyResults
from poolwise.study.study import report_path
from poolwise.wording import visible

_SCREENS = {"screen": "heads on a frozen base", "trial": "designs at one seed, with half of max_items"}


def print_results(found: StudyResults, out: Path, as_json: bool) -> None:
    """Print the results of the study in ``out`` and the path of the report; as JSON, print ``results.json``."""
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
        return
    if title := _SCREENS.get(found.results.kind):
        print(f"SCREEN: {title}, to choose candidates for a study\n")
    print(visible(study_text(found, out, verbose=is_verbose())))
    print(f"\nreport: {report_path(out)}")


def print_budgets(found: Mapping[int, StudyResults], out: Path, as_json: bool) -> None:
    """Print scores and recommendations at each budget; as JSON, the ``results.json`` of each by its steps."""
    if as_json:
        print(json.dumps({steps: study.model_dump(mode="json") for steps, study in found.items()}, indent=2))
        return
    print(visible(budgets_text(found)))
    print(f"\nreport: {out / HTML}")
