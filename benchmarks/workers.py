"""A study in one process with all threads, against the same study in one process a core.

python benchmarks/workers.py
"""

from __future__ import annotations

import json
import tempfile
from itertools import count
from pathlib import Path

from _measure import paired_ratios, record

from poolwise.config import build_recipe
from poolwise.study.study import run_study

RECIPE = {
    "name": "workers",
    "base": "poolwise/nano",
    "designs": ["paper:1", "paper:5"],
    "reference": "paper:1",
    "seeds": [0, 1],
    "data": {"train": ["poolwise/pydoc"], "max_rows": 1000},
    "train": {"steps": 4, "batch_size": 32, "max_tokens": 48, "lora_dropout": 0.0},
    "eval": {"max_tokens": 48},
    "tasks": ["poolwise/pydoc"],
    "max_items": 60,
    "anchors": [],
}
SAME = 5e-3
"""Scores may move by a rounding: one thread and two add up in another order."""


def main() -> None:
    recipe = build_recipe(RECIPE)
    with tempfile.TemporaryDirectory() as place:
        number = count()

        def run(workers: int) -> Path:
            out = Path(place) / f"study-{next(number)}"
            run_study(recipe, out, workers=workers)
            return out

        one, two = (_scores(run(workers)) for workers in (1, 2))
        worst = max(abs(one[key] - two[key]) for key in one)
        assert one.keys() == two.keys() and worst < SAME, f"scores differ by {worst}"
        ratios = paired_ratios(lambda: run(1), lambda: run(2), warm=False)
    record("study in two processes", ratios, recipe=RECIPE, worst_score_difference=worst)


def _scores(out: Path) -> dict[tuple[str, int, str], float]:
    rows = json.loads((out / "results.json").read_text())["results"]["scores"]
    return {(row["name"], row["seed"], row["task"]): row["score"] for row in rows}


if __name__ == "__main__":
    main()
