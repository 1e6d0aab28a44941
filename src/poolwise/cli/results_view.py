"""The output of a study or a screen: its results as JSON, or as text with the path of the report."""

from __future__ import annotations

import sys
from pathlib import Path

from poolwise.cli.options import is_verbose
from poolwise.report import study_text
from poolwise.results import StudyResults
from poolwise.study.study import report_path
from poolwise.wording import visible


def print_results(found: StudyResults, out: Path, as_json: bool) -> None:
    """Print the results of the study in ``out`` and the path of the report; as JSON, print ``results.json``."""
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
        return
    if found.results.kind == "screen":
        print("SCREEN: heads on a frozen base, to choose candidates for a study\n")
    print(visible(study_text(found, out, verbose=is_verbose())))
    print(f"\nreport: {report_path(out)}")
