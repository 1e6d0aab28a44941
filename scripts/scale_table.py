"""Print the tables of docs/scale.md: bytes of embeddings and hours of encoding, by the formulas of that page."""

from __future__ import annotations

from collections.abc import Sequence

TEXTS = 100_000_000
WIDTHS = (256, 768, 1024, 4096)
BYTES = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "binary": 1 / 8}
RATES = (250, 1000, 5000)
WORKERS = (1, 8, 64)


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


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---:|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


if __name__ == "__main__":
    print("\n".join(tables()))
