"""Keep a finished study as a record: docs/results/NAME/ and, for the README, its table.

python scripts/record_results.py runs/controlled
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from poolwise.records import load_record, save_record
from poolwise.results import StudyResults

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
START, END = "<!-- recorded -->", "<!-- /recorded -->"


def section(markdown: str, title: str) -> str:
    """Return the text below a second-level heading."""
    return markdown.split(f"\n## {title}\n")[1].split("\n## ")[0].strip()


def _without_texts(study: StudyResults) -> StudyResults:
    """The study without the items behind its differences, whose texts are other people's data."""
    comparison = study.results.comparison.model_copy(update={"extremes": []})
    return study.model_copy(update={"results": study.results.model_copy(update={"comparison": comparison})})


def main(folder: Path) -> None:
    """Copy the record and rewrite the README between its two marks."""
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
    before, rest = README.read_text().split(START)
    README.write_text(f"{before}{START}\n{text}\n{END}{rest.split(END)[1]}")
    print(f"recorded: {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
