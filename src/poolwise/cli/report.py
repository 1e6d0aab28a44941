"""``poolwise report``: writes the report of a study again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import show

EXAMPLES = ("poolwise report runs/quickstart", "poolwise report runs/quickstart/results.json")


def report(folder: Annotated[Path, typer.Argument(help="Folder of a study, or a results.json.")]) -> None:
    """Write report.html, report.md and report.tex again from the records of a study, finished or not."""
    path = folder if folder.suffix == ".json" else folder / "results.json"
    if path.is_file():
        from poolwise.records import load_record
        from poolwise.report import write_reports
        from poolwise.results import StudyResults
        from poolwise.storage.lock import locked

        with locked(path.parent):
            show(write_reports(load_record(StudyResults, path), path.parent))
        return
    from poolwise.study.study import publish_unfinished, report_path, require_study_folder

    require_study_folder(folder)  # before torch is imported, which takes seconds
    from poolwise.screening.screen import course_of

    publish_unfinished(folder, course_of(folder))
    show(report_path(folder))
