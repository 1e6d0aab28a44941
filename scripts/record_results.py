"""Keep a finished study as a record in docs/results/NAME/: its report and its results.

python scripts/record_results.py runs/controlled
python scripts/record_results.py runs/smollm2-lower smollm2-lower    under another name than the study's own
python scripts/record_results.py runs/padding.json                   output of ``poolwise compare --json``
python scripts/record_results.py runs/smollm2-budgets/budgets.md smollm2-budgets    the page of several budgets

Paths of this checkout are made relative to it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from poolwise.records import load_record, save_record
from poolwise.results import StudyResults

ROOT = Path(__file__).resolve().parent.parent


def _without_texts(study: StudyResults) -> StudyResults:
    """The study without the items behind its differences, whose texts are other people's data."""
    comparison = study.results.comparison.model_copy(update={"extremes": []})
    results = study.results.model_copy(update={"comparison": comparison})
    measured = study.measured.model_copy(update={"command": _relative(study.measured.command)})
    return study.model_copy(update={"results": results, "measured": measured})


def _relative(text: str) -> str:
    return text.replace(f"{ROOT}/", "")


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
    (target / "report.md").write_text(_relative((folder / "report.md").read_text()))
    save_record(_without_texts(study), target / "results.json")
    print(f"recorded: {target}")


def keep_page(path: Path, name: str) -> None:
    """Copy the page of a study at several budgets."""
    target = ROOT / "docs" / "results" / f"{name}.md"
    target.write_text(_relative(path.read_text()))
    print(f"recorded: {target}")


if __name__ == "__main__":
    given = Path(sys.argv[1])
    keepers = {".json": keep_comparison, ".md": keep_page}
    keepers.get(given.suffix, main)(given, *sys.argv[2:])
