"""Print the agreement of the two gradings of the shipped sentence pairs, and the score of word overlap.

python scripts/sts_agreement.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import poolwise
from poolwise.embedded.pydoc_text import words

SETS = Path(poolwise.__file__).parent / "embedded" / "sts"


def rows_of(path: Path) -> list[dict[str, str | float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def overlap(row: dict[str, str | float]) -> float:
    """Return the share of words that both sentences have, of the words that either has."""
    first, second = set(words(str(row["sentence1"]))), set(words(str(row["sentence2"])))
    return len(first & second) / len(first | second)


def report(name: str, rows: list[dict[str, str | float]]) -> str:
    first, second, score = (np.array([row[key] for row in rows], float) for key in ("grade1", "grade2", "score"))
    bands = np.histogram(score, bins=[0, 0.75, 1.75, 2.75, 3.75, 4.5, 5.01])[0]
    cells = (
        name,
        str(len(rows)),
        " ".join(map(str, bands)),
        f"{spearmanr(first, second).statistic:.3f}",
        f"{np.abs(first - second).mean():.3f}",
        f"{(first == second).mean():.2f}",
        f"{spearmanr([overlap(row) for row in rows], score).statistic:.3f}",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    print("| set | pairs | pairs by score 0, 1, 2, 3, 4, 5 | Spearman | mean difference | equal | word overlap |")
    print("|---|---|---|---|---|---|---|")
    sets = {path.parent.name: rows_of(path) for path in sorted(SETS.glob("*/test.jsonl"))}
    for name, rows in sets.items():
        print(report(name, rows))
    print(report("all", [row for rows in sets.values() for row in rows]))


if __name__ == "__main__":
    main()
