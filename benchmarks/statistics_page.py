"""Write docs/results/statistics.md from the records of the statistics benchmarks.

python benchmarks/statistics_page.py
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from poolwise.study.provenance import machine, versions

RECORDS = Path(__file__).parent / "records"
PAGE = Path(__file__).parent.parent / "docs" / "results" / "statistics.md"
Record = dict[str, object]


def save(name: str, result: Record) -> None:
    """Write a record with machine, versions and date."""
    RECORDS.mkdir(exist_ok=True)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    result = {**result, "machine": machine(), "versions": versions(), "date": date}
    (RECORDS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def load(name: str) -> list[Record]:
    """Return the rows of a record."""
    rows: list[Record] = json.loads((RECORDS / f"{name}.json").read_text())["rows"]
    return rows


def write_page() -> None:
    """Write the page from the records that are there."""
    parts = ["# What the statistics keep, and what they take", ""]
    for name, render in (("statistics_levels", _levels), ("statistics_speed", _speed)):
        if (path := RECORDS / f"{name}.json").is_file():
            record = json.loads(path.read_text())
            parts += [*render(record), "", where(name, record), ""]
    PAGE.write_text("\n".join(parts))


def where(name: str, record: Record) -> str:
    """Return the command of a record, its machine and its date."""
    place = record["machine"]
    assert isinstance(place, dict)
    hardware = f"{place['processor']}, {place['cores']} cores"
    return f"Command: `python benchmarks/{name}.py`; {hardware}; {record['date']}; record: `{name}.json`."


def _levels(record: dict[str, list[Record]]) -> list[str]:
    lines = [
        "## Levels and coverage",
        "",
        "Rates over simulated experiments, with 95% binomial intervals. *Promise* is what the rate must be up to "
        "sampling error (its 99.9% interval), or the command fails; rates without one are recorded as they are.",
    ]
    for section in dict.fromkeys(row["section"] for row in record["rows"]):
        lines += [
            "",
            f"### {section}",
            "",
            "| what | rate | 95% interval | repeats | promise |",
            "|---|---|---|---|---|",
        ]
        lines += [_rate(row) for row in record["rows"] if row["section"] == section]
    return lines


def _rate(row: Record) -> str:
    low, high = row["interval"]  # type: ignore[misc]
    promise = "recorded" if row["promise"] == "none" else f"{row['promise']} {row['stated']:.3f}"
    kept = "" if row["is_kept"] else ": **broken**"
    what = row["what"]
    return f"| {what} | {row['rate']:.3f} | {low:.3f} to {high:.3f} | {row['repeats']} | {promise}{kept} |"


def _speed(record: dict[str, list[Record]]) -> list[str]:
    lines = [
        "## Speed and memory",
        "",
        "`compare_runs` on 8 models, each number from a process of its own; 28 contrasts. The budget holds for two "
        "cores; *processor* is the time of all threads together.",
        "",
        "| what | items | resamples | wall, s | processor, s | peak memory, GB | budget, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in record["budgets"]:
        lines.append(f"| {_cells(row)} | {row['budget']} |")
    lines += ["", "Growth with the number of items, 1,000 resamples, all measured in one run:", ""]
    lines += ["| what | items | resamples | wall, s | processor, s | peak memory, GB | processor us per item |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in record["growth"]:
        lines.append(f"| {_cells(row)} | {row['per_item']:.1f} |")
    lines += ["", "All pairs of published models, by their scores on 36 tasks in six categories:", ""]
    lines += ["| models | contrasts | wall, s | peak memory, GB | budget, s |", "|---|---|---|---|---|"]
    for row in record.get("published", []):
        models = int(str(row["models"]))
        contrasts = 3 * models * (models - 1)
        lines.append(f"| {models} | {contrasts:,} | {row['wall']:.1f} | {row['memory']:.2f} | {row['budget']:.0f} |")
    return lines


def _cells(row: Record) -> str:
    times = f"{row['wall']:.2f} | {row['processor']:.2f} | {row['memory']:.2f}"
    return f"{row['what']} | {row['items']:,} | {row['resamples']:,} | {times}"


if __name__ == "__main__":
    write_page()
