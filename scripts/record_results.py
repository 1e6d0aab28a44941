"""Record a finished study in docs/results/NAME/; for the study shown in the README, also update its table there.

python scripts/record_results.py runs/controlled
python scripts/record_results.py runs/padding.json     output of ``poolwise compare --json``
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from _pages import replace_between

from poolwise.records import load_record, save_record
from poolwise.results import StudyResults

ROOT = Path(__file__).resolve().parent.parent
README, IN_README = ROOT / "README.md", "controlled"


def section(markdown: str, title: str) -> str:
    """Return the text below a second-level heading."""
    return markdown.split(f"\n## {title}\n")[1].split("\n## ")[0].strip()


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


def main(folder: Path) -> None:
    """Copy the record and, of the README's study, rewrite the README between its two marks."""
    study = load_record(StudyResults, folder / "results.json")
    target = ROOT / "docs" / "results" / study.results.name
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "report.md", target / "report.md")
    save_record(_without_texts(study), target / "results.json")
    markdown = (folder / "report.md").read_text()
    machine = study.measured.machine
    command = study.measured.command or f"poolwise study recipes/{study.results.name}.yaml"
    missing = sorted([*study.results.failures, *study.results.not_run])
    unfinished = f"**Unfinished**: {len(missing)} jobs were not run ({', '.join(missing)}). " if missing else ""
    text = (
        f"`{command}`, {len(study.results.tasks)} tasks, on {machine.get('cores', '?')} cores "
        f"({machine.get('processor', 'unknown')}). {unfinished}"
        f"The whole record: [report](docs/results/{study.results.name}/report.md).\n\n"
        f"{section(markdown, 'Scores by category')}\n\n{section(markdown, 'Verdict')}"
    )
    if study.results.name == IN_README:
        README.write_text(replace_between(README.read_text(), "recorded", text))
    print(f"recorded: {target}")


if __name__ == "__main__":
    given = Path(sys.argv[1])
    keep_comparison(given) if given.suffix == ".json" else main(given)
