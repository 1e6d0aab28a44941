"""Write the tables of docs/scale.md: sizes and hours by its formulas, and what the benchmarks recorded.

python scripts/scale_table.py
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from _pages import replace_between
from record_performance import Record, load_records, machine_name, ratios_table

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
INDEX = "search p50 over faiss"
ENCODING = ("encode_corpus over", "encode on ", "peak memory with a tenth")
"""How the claims begin that benchmarks/corpus.py and benchmarks/ray_corpus.py record."""
NOTHING = "Not measured yet."
TEXTS = 100_000_000
WIDTHS = (256, 768, 1024, 4096)
BYTES = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "binary": 1 / 8}
RATES = (250, 1000, 5000)
WORKERS = (1, 8, 64)
_AT = ("p50", "p99")


def gigabytes(texts: int, width: int, bytes_per_number: float) -> float:
    """Return the size of the embeddings of so many texts, in 10^9 bytes."""
    return texts * width * bytes_per_number / 1e9


def hours(texts: int, rate: float, workers: int, efficiency: float = 1.0) -> float:
    """Return how long workers take together.

    Args:
        rate: texts per second of one worker.
        efficiency: the share of ``workers * rate`` that is reached.
    """
    return texts / (rate * workers * efficiency) / 3600


def tables() -> list[str]:
    """Return the lines of both tables."""
    sizes = [
        [f"{width:,}", *(f"{gigabytes(TEXTS, width, per_number):,.1f}" for per_number in BYTES.values())]
        for width in WIDTHS
    ]
    times = [[f"{rate:,}", *(f"{hours(TEXTS, rate, workers):,.1f}" for workers in WORKERS)] for rate in RATES]
    return [
        *_table([f"GB, {TEXTS:,} texts", *BYTES], sizes),
        "",
        *_table(["texts/s of one worker", *(f"{workers} workers" for workers in WORKERS)], times),
    ]


def index_lines(machines: dict[str, dict[str, Record]]) -> list[str]:
    """Return a line for each size and backend that benchmarks/index.py recorded: ours, and faiss alone in brackets."""
    head = ["vectors", "backend", "machine", "build, s", "size, MiB", "recall at 10", "p50, ms", "p99, ms"]
    rows = []
    for records in machines.values():
        for claim, record in records.items():
            if not claim.startswith(INDEX):
                continue
            config = record["config"]
            times = {at: {who: statistics.median(of) for who, of in config["milliseconds"][at].items()} for at in _AT}
            cells = [
                _both(config["seconds"], "{:,.1f}"),
                _both({who: size / 2**20 for who, size in config["bytes"].items()}, "{:,.0f}"),
                _both(config["recall"], "{:.3f}"),
                *(_both(times[at], "{:,.2f}") for at in _AT),
            ]
            rows.append((config["vectors"], config["kind"], machine_name(records), cells))
    rows.sort(key=lambda row: row[:3])
    return _table(head, [[f"{count:,}", kind, where, *cells] for count, kind, where, cells in rows])


def _both(values: dict[str, float], form: str) -> str:
    return f"{form.format(values['ours'])} ({form.format(values['faiss'])})"


def encoding_table(machines: dict[str, dict[str, Record]]) -> str:
    """Return the ratios of encoding a corpus, here and on Ray."""
    found = {
        name: {claim: record for claim, record in records.items() if claim.startswith(ENCODING)}
        for name, records in machines.items()
    }
    return ratios_table({name: records for name, records in found.items() if records})


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---:|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def page(text: str, machines: dict[str, dict[str, Record]]) -> str:
    """Return the page with all its tables."""
    claims = [claim for records in machines.values() for claim in records]
    has_index = any(claim.startswith(INDEX) for claim in claims)
    has_encoding = any(claim.startswith(ENCODING) for claim in claims)
    text = replace_between(text, "formulas", "\n".join(tables()))
    text = replace_between(text, "encoding", encoding_table(machines) if has_encoding else NOTHING)
    return replace_between(text, "indexes", "\n".join(index_lines(machines)) if has_index else NOTHING)


def main() -> None:
    PAGE.write_text(page(PAGE.read_text(), load_records()))
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
