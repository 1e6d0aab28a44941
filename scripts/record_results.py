"""Keep a finished study as a record in docs/results/NAME/: its report and its results.

python scripts/record_results.py runs/controlled
python scripts/record_results.py runs/smollm2-lower smollm2-lower    under another name than the study's own
python scripts/record_results.py runs/padding.json                   output of ``poolwise compare --json``
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from poolwise.records import load_record, save_record
from poolwise.results import StudyResults

ROOT = Path(__file__).resolve().parent.parent


def _without_texts(study: StudyResults) -> StudyResults:
    """The study without the items behind its differences, whose texts are other people's data."""
    comparison = study.results.comparison.model_copy(update={"extremes": []})
    return study.model_copy(update={"results": study.results.model_copy(update={"comparison": comparison})})


def keep_comparison(path: Path) -> None:
    """Copy what a comparison printed, without texts of items."""
    found = json.loads(path.read_text()) | {"extremes": []}
    target = ROOT / "docs" / "results" / path.name
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(f"recorded: {target}")


def main(folder: Path, name: str = "") -> None:
    """Copy the report and the results of a study, without texts of items."""
    study = load_record(StudyResults, folder / "results.json")
    target = ROOT / "docs" / "results" / (name or study.results.name)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "report.md", target / "report.md")
    save_record(_without_texts(study), target / "results.json")
    print(f"recorded: {target}")


if __name__ == "__main__":
    given = Path(sys.argv[1])
    keep_comparison(given) if given.suffix == ".json" else main(given, *sys.argv[2:])
