"""``poolwise report``: write the report of a finished study again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(folder: Annotated[Path, typer.Argument(help="A study's folder, or a results.json.")]) -> None:
    """Write report.html and report.md from the records of a study."""
    from poolwise.errors import EvalError
    from poolwise.records import StudyResults, load_record
    from poolwise.report import write_reports

    path = folder if folder.suffix == ".json" else folder / "results.json"
    if not path.is_file():
        raise EvalError(
            f"{path} does not exist", hint="run `poolwise study` to its end first; compare reads unfinished ones"
        )
    print(write_reports(load_record(StudyResults, path), path.parent))
