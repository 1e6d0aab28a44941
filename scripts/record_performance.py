"""Write the tables and figures of docs/performance.md from the benchmark records.

python scripts/record_performance.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from _pages import replace_between

from poolwise.report.figures.svg import Drawing, Scale, log_padded, tick_text

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "records"
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
Record = dict[str, Any]
PROFILE = "profile "


def load_records() -> dict[str, dict[str, Record]]:
    """Return the records by machine and claim."""
    found: dict[str, dict[str, Record]] = {}
    for path in sorted(RECORDS.glob("*/*.json")):
        record = json.loads(path.read_text())
        found.setdefault(path.parent.name, {})[record["claim"]] = record
    return found


def machine_name(records: dict[str, Record]) -> str:
    """Return what a machine is, in words."""
    machine = next(iter(records.values()))["machine"]
    if machine["accelerator"] != "none":
        return str(machine["accelerator"])
    name = machine["processor"].replace("(R)", "").replace(" Processor", "")
    return f"{name} with {machine['instructions']}, {machine['cores']} cores"


def ratios_table(machines: dict[str, dict[str, Record]]) -> str:
    """Return one row a claim, one column a machine."""
    claims = sorted({claim for records in machines.values() for claim in records if not claim.startswith(PROFILE)})
    heads = [f"{machine_name(records)} | Spread" for records in machines.values()]
    lines = [f"| What | Promise | {' | '.join(heads)} |", "| :--- | ---: |" + " ---: | ---: |" * len(machines)]
    for claim in claims:
        known = [records.get(claim) for records in machines.values()]
        target = next(record.get("target") for record in known if record)
        promise = "" if target is None else f"{target:.3g}x"
        lines.append(f"| {claim} | {promise} | {' | '.join(_cells(record) for record in known)} |")
    return "\n".join(lines)


def _cells(record: Record | None) -> str:
    if record is None:
        return "– | –"
    ratios, target, median = record["ratios"], record.get("target"), record["median"]
    missed = "" if target is None or median >= target else " **missed**"
    return f"{median:.2f}x{missed} | {min(ratios):.2f} to {max(ratios):.2f} ({len(ratios)})"


def rates_table(machines: dict[str, dict[str, Record]]) -> str:
    """Return what encoding reaches of the machine's rate of matrix products."""
    lines = ["| What | Machine | Tokens/s | Share of the rate of a square product |", "| :--- | :--- | ---: | ---: |"]
    for records in machines.values():
        for claim, record in records.items():
            if "share_of_matmul_rate" in (config := record["config"]):
                rate = f"{config['tokens_per_second']:,.0f} | {config['share_of_matmul_rate']:.0%}"
                lines.append(f"| {claim} | {machine_name(records)} | {rate} |")
    return "\n".join(lines)


def profiles_table(machines: dict[str, dict[str, Record]]) -> str:
    """Return seconds by kind of operation before and after, of every profile there is."""
    lines = [
        "| Base | Machine | Kind of operation | stock `encode` | ours |",
        "| :--- | :--- | :--- | ---: | ---: |",
    ]
    for records in machines.values():
        for claim, record in records.items():
            if not claim.startswith(PROFILE):
                continue
            before, after = record["config"]["before"], record["config"]["after"]
            base = claim.removeprefix(PROFILE).split(",")[0]
            for kind in sorted(before, key=before.get, reverse=True):
                times = f"{before[kind]:.2f} s | {after.get(kind, 0):.2f} s"
                lines.append(f"| {base} | {machine_name(records)} | {kind} | {times} |")
            total = f"**{sum(before.values()):.2f} s** | **{sum(after.values()):.2f} s**"
            lines.append(f"| {base} | {machine_name(records)} | **all** | {total} |")
    return "\n".join(lines)


def growth_figure(title: str, unit: str, lines: dict[str, dict[float, float]]) -> str:
    """Return time against size, both logarithmic, with straight proportion as a dashed line."""
    width, height, left, bottom = 460, 300, 58, 240
    sizes = [size for line in lines.values() for size in line]
    times = [time for line in lines.values() for time in line.values()]
    x = Scale(*log_padded(sizes, 0.05), left, width - 150, is_log=True)
    y = Scale(*log_padded(times, 0.05), bottom, 30, is_log=True)
    drawing = Drawing(width, height)
    drawing.text(left, 16, title, "title")
    drawing.x_axis(x, 30, bottom, tick_text, unit)
    drawing.y_axis(y, left, width - 150, lambda value: f"{tick_text(value)} s")
    for number, (name, line) in enumerate(lines.items()):
        points = sorted(line.items())
        drawing.path([(x(size), y(time)) for size, time in points], f"line c{number}")
        for size, time in points:
            drawing.mark(x(size), y(time), f"c{number}", f"{name}: {tick_text(size)} in {time:.2f} s", 3.5)
        drawing.text(width - 144, y(points[-1][1]) + 4, name, f"name c{number}")
        # In proportion to the largest size, down to the lower end of the drawing.
        end_size, end_time = points[-1]
        low = max(x.low, end_size * y.low / end_time)
        drawing.path([(x(low), y(end_time * low / end_size)), (x(end_size), y(end_time))], "proportion")
    style = (
        "<style>svg{background:#fff;font:12px system-ui,sans-serif}text{fill:#333}.title{font-weight:600}"
        ".grid{stroke:#e4e4e4}.axis{stroke:#888}.line{fill:none;stroke-width:2}.proportion{fill:none;stroke:#aaa;"
        "stroke-dasharray:4 4}.c0{stroke:#2b6cb0}.c1{stroke:#c05621}.c2{stroke:#2f855a}.c3{stroke:#805ad5}"
        "text.c0,text.c1,text.c2,text.c3{stroke:none}.mark{stroke:none}circle.c0{fill:#2b6cb0}circle.c1{fill:#c05621}"
        "circle.c2{fill:#2f855a}circle.c3{fill:#805ad5}</style>"
    )
    svg = drawing.svg(f"{title}: time against {unit}").replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return svg.replace(">", f">{style}", 1) + "\n"


def growth_lines(machines: dict[str, dict[str, Record]], claim: str) -> dict[str, dict[float, float]]:
    """Return seconds by size of one growth, a line a machine."""
    return {
        machine_name(records).split(",")[0]: {float(k): v for k, v in records[claim]["config"]["seconds"].items()}
        for records in machines.values()
        if claim in records
    }


def statistics_lines() -> dict[str, dict[float, float]]:
    """Return seconds of the statistics by number of items, a line a kind of metric."""
    rows = json.loads((RECORDS / "statistics_speed.json").read_text())["growth"]
    lines: dict[str, dict[float, float]] = {}
    for row in rows:
        lines.setdefault(row["what"].replace("_", " "), {})[row["items"]] = row["wall"]
    return lines


def main() -> None:
    machines = load_records()
    text = replace_between(PAGE.read_text(), "recorded", ratios_table(machines))
    text = replace_between(text, "rates", rates_table(machines))
    PAGE.write_text(replace_between(text, "profiles", profiles_table(machines)))
    for name, title, unit, lines in (
        ("encoding", "Encoding", "texts", growth_lines(machines, "growth of encoding")),
        ("study", "A study", "designs", growth_lines(machines, "growth of a study")),
        ("statistics", "Statistics, 8 models, 1,000 resamples", "items", statistics_lines()),
    ):
        (IMAGES / f"growth-{name}.svg").write_text(growth_figure(title, unit, lines))
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
