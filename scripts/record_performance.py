"""Write the table of docs/performance.md from the records of the benchmarks.

python scripts/record_performance.py
"""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
START, END = "<!-- recorded -->", "<!-- /recorded -->"


def main() -> None:
    records = [json.loads(path.read_text()) for path in sorted((ROOT / "benchmarks" / "records").glob("*.json"))]
    rows = [_row(record) for record in records if "median" in record]
    machines = sorted(
        {
            f"{r['machine'].get('cores', '?')} cores, {r['machine'].get('processor', '?')}"
            for r in records
            if "machine" in r
        }
    )
    head = ["| What | Median | Spread | Promise |", "| :--- | ---: | ---: | :--- |"]
    before, rest = PAGE.read_text().split(START)
    after = rest.split(END)[1]
    text = "\n".join([START, f"Measured on: {'; '.join(machines)}.", "", *head, *rows, END])
    PAGE.write_text(before + text + after)
    print(f"written: {PAGE}")


def _row(record: dict[str, object]) -> str:
    ratios, target, median = record["ratios"], record.get("target"), record["median"]
    assert isinstance(ratios, list) and isinstance(median, float)
    promise = "" if target is None else f"{target:.3g}, {'reached' if median >= float(str(target)) else '**missed**'}"
    spread = f"{min(ratios):.2f} to {max(ratios):.2f} ({len(ratios)})"
    return f"| {record['claim']} | {median:.2f}x | {spread} | {promise} |"


if __name__ == "__main__":
    main()
