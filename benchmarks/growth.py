"""How time grows: encoding 1k, 4k and 16k texts, a study of 1, 2 and 4 designs. Reports growth worse than linear.

python benchmarks/growth.py [encoding|study]

``benchmarks/statistics_speed.py`` measures the growth of the statistics.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import count
from pathlib import Path

from _measure import record, seconds

from poolwise.config import build_recipe
from poolwise.data import load_source
from poolwise.encoding.encode import encode_texts
from poolwise.models import build_model, prepare_encoding
from poolwise.study.study import run_study

TEXTS = (1000, 4000, 16_000)
DESIGNS = ("last+causal", "mean+causal", "latent+causal", "multilayer+causal")
SLACK = 0.87
"""Fifteen parts in a hundred above linear are noise of a shared machine."""


def growth(name: str, unit: str, times: dict[int, float]) -> None:
    """Record the time of one unit at the least size over that at each larger one."""
    least = min(times)
    shares = {size: (times[least] / least) / (time / size) for size, time in times.items()}
    print(f"{name}: " + ", ".join(f"{size} {unit} {time:.1f} s" for size, time in times.items()))
    record(f"growth of {name}", [shares[size] for size in times if size > least], target=SLACK, seconds=times)


def encoding() -> None:
    model = prepare_encoding(build_model("mean+causal", "poolwise/nano", method="frozen", max_tokens=64))
    texts = [text for triple in load_source("poolwise/pydoc").triples for text in (triple.query, triple.positive)]
    pool = [f"{number} {texts[number % len(texts)]}"[:160] for number in range(max(TEXTS))]
    encode_texts(model, pool[:500])
    growth("encoding", "texts", {size: seconds(lambda n=size: encode_texts(model, pool[:n])) for size in TEXTS})


def study() -> None:
    with tempfile.TemporaryDirectory() as place:
        number = count()

        def run(num_designs: int) -> None:
            recipe = build_recipe(
                {
                    "name": "growth",
                    "base": "poolwise/nano",
                    "reference": DESIGNS[0],
                    "designs": list(DESIGNS[:num_designs]),
                    "seeds": [0, 1],
                    "data": {"train": ["poolwise/pydoc"], "max_rows": 1000},
                    "train": {"steps": 4, "batch_size": 16, "max_tokens": 48, "lora_dropout": 0.0},
                    "eval": {"max_tokens": 64},
                    "tasks": ["poolwise/pydoc"],
                    "max_items": 60,
                    "anchors": [],
                }
            )
            run_study(recipe, Path(place) / str(next(number)))

        run(1)
        growth("a study", "designs", {size: seconds(lambda n=size: run(n)) for size in (1, 2, 4)})


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["encoding", "study"]
    for name, measure in (("encoding", encoding), ("study", study)):
        if name in wanted:
            measure()
