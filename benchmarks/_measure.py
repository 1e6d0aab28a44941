"""What every benchmark shares: paired repeats, a ratio with its spread, and a record of where it was measured."""

from __future__ import annotations

import datetime
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from poolwise.study.provenance import machine, versions

RECORDS = Path(__file__).parent / "records"
REPEATS = 5


def seconds(run: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def paired_ratios(slow: Callable[[], object], fast: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Return slow / fast for each repeat, both timed one after the other so that drift hits both."""
    slow(), fast()  # the first calls set kernels up
    return [seconds(slow) / seconds(fast) for _ in range(repeats)]


def record(claim: str, ratios: list[float], **config: object) -> None:
    """Print the ratio with its spread and write it, with hardware, versions and settings, below ``records/``."""
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"{claim}: {middle:.2f}x (median of {len(ratios)}, {low:.2f} to {high:.2f})")
    RECORDS.mkdir(exist_ok=True)
    result = {
        "claim": claim,
        "median": middle,
        "ratios": ratios,
        "config": config,
        "machine": machine(),
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    name = "".join(c if c.isalnum() else "-" for c in claim.lower())[:60].strip("-")
    (RECORDS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
