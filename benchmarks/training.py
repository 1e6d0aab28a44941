"""Training speed (tokens per second) against sentence-transformers' trainer with plain modules and padded forwards.

python benchmarks/training.py

Both train the same adapter and head from the same initial parameters, on the same batches in the same order, with bf16
autocast if the CPU is fast at it. Losses are compared step by step.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from _measure import REPEATS, record
from _peers import save_base, train_stock

from poolwise.config import TrainConfig
from poolwise.data import Triple, build_schedule, load_source
from poolwise.models import build_model
from poolwise.training import train_model

STEPS, WARM = 5, 2
CONFIG = TrainConfig(
    steps=STEPS, batch_size=16, max_tokens=48, lora_dropout=0.0, learning_rate=1e-3, head_learning_rate=1e-3
)
DESIGNS = ("last+causal", "mean+bidirectional", "multilayer+causal")
TARGET = 1.5
LOSS_TOLERANCE = 0.05
"""Two orders of bf16 sums drift apart by some hundredths in a few steps; in fp32 the parity tests ask for 1e-5."""


def ours(base: str, design: str, triples: list[Triple], batches: Any, folder: Path) -> tuple[list[float], list[float]]:
    """Return losses and seconds of our steps."""
    model = build_model(design, base, max_tokens=CONFIG.max_tokens, lora_dropout=0.0, seed=1)
    steps: list[Any] = []
    train_model(
        model, triples, batches, CONFIG, out=folder, seed=0, prompts={}, resume=False, on_step=steps.append,
        source_category={triple.source: "retrieval" for triple in triples},
    )  # fmt: skip
    return [step.loss for step in steps], [step.seconds for step in steps]


def main() -> None:
    triples = load_source("poolwise/pydoc").triples[:2000]
    schedule = build_schedule(triples, steps=STEPS, batch_size=CONFIG.batch_size, seed=0)
    with tempfile.TemporaryDirectory() as place:
        base = save_base(Path(place) / "nano", "nano")
        for design in DESIGNS:
            ratios, gaps = [], []
            for repeat in range(REPEATS):
                folder = Path(place) / f"{design}-{repeat}"
                _, losses, times = train_stock(base, design, triples, schedule.batches, CONFIG, folder / "theirs")
                own_losses, own_times = ours(base, design, triples, schedule, folder / "ours")
                gaps.append(max(abs(a - b) for a, b in zip(losses, own_losses, strict=True)))
                ratios.append(statistics.median(times[WARM:]) / statistics.median(own_times[WARM:]))
            assert max(gaps) < LOSS_TOLERANCE, f"{design}: losses differ by {max(gaps):.3f}: {losses}, {own_losses}"
            record(
                f"training {design}",
                ratios,
                target=TARGET,
                steps=STEPS,
                batch=CONFIG.batch_size,
                worst_loss_gap=max(gaps),
            )


if __name__ == "__main__":
    main()
