"""A whole study against the same work done by hand: sentence-transformers' trainer and mteb's scores, model by model.

python benchmarks/study.py

The five designs of the paper, two seeds, six tasks. By hand: plain modules, padded passes, each task for itself.
Same batches, same starts; losses and scores are compared before any time is believed.
"""

from __future__ import annotations

import json
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from _measure import paired_ratios, record
from _peers import save_base, train_stock

from poolwise.config import build_recipe
from poolwise.data.pydoc import pydoc_suite_path
from poolwise.design import parse_design
from poolwise.records import load_steps
from poolwise.study.inputs import load_inputs
from poolwise.study.study import run_study
from poolwise.tasks import evaluate_task

TASKS = (
    "retrieval/pydoc-name-description",
    "retrieval/pydoc-summary-body",
    "classification/pydoc-kind",
    "clustering/pydoc-modules",
    "sts/pysts-code",
    "sts/pysts-hard",
)
REPEATS, TARGET = 5, 1 / 0.6
LOSS_TOLERANCE, SCORE_TOLERANCE = 0.08, 0.05
"""bf16 sums in another order drift apart over the steps; the mean over tasks and models moves far less."""


def recipe(base: str) -> Any:
    return build_recipe(
        {
            "name": "study",
            "base": base,
            "designs": ["paper:1", "paper:2", "paper:3", "paper:4", "paper:5"],
            "reference": "paper:1",
            "seeds": [0, 1],
            "data": {"train": ["poolwise/pydoc"], "max_rows": 1000},
            "train": {"steps": 3, "batch_size": 16, "max_tokens": 48, "lora_dropout": 0.0, "learning_rate": 1e-3},
            "eval": {"max_tokens": 64},
            "tasks": [str(pydoc_suite_path() / task) for task in TASKS],
            "max_items": 40,
            "anchors": [],
        }
    )


class PlainEncoder:
    """Reads what each task asks for, when it asks, at the defaults of ``encode``."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def encode(self, texts: Any, prompt: str) -> Any:
        return self.model.encode(list(texts), prompt=prompt or None)


def by_hand(base: str, folder: Path) -> tuple[dict[tuple[str, int], list[float]], dict[tuple[str, int, str], float]]:
    """Return losses by design and seed, and scores by task beside them."""
    wanted = recipe(base)
    inputs = load_inputs(wanted)
    losses, scores = {}, {}
    for seed in wanted.seeds:
        for design in wanted.designs:
            batches = inputs.schedules[seed].batches
            out = folder / f"{parse_design(design).slug}-{seed}"
            model, values, _ = train_stock(base, design, inputs.triples, batches, wanted.train, out, seed=seed)
            model.max_seq_length = wanted.eval.max_tokens
            losses[design, seed] = values
            encoder = PlainEncoder(model.eval())
            for task in inputs.tasks:
                scores[design, seed, task.name] = evaluate_task(task, encoder).score
    return losses, scores


def by_poolwise(base: str, out: Path) -> tuple[dict[tuple[str, int], list[float]], dict[tuple[str, int, str], float]]:
    """Return what ``by_hand`` does, from a study."""
    run_study(recipe(base), out)
    results = json.loads((out / "results.json").read_text())["results"]
    scores = {(row["name"], row["seed"], row["task"]): row["score"] for row in results["scores"]}
    losses = {}
    for manifest in (out / "runs").glob("*/run.json"):
        run = json.loads(manifest.read_text())
        losses[run["design"], run["seed"]] = [step.loss for step in load_steps(manifest.parent / "training.jsonl")]
    return losses, scores


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        base, number = save_base(Path(place) / "nano", "nano"), count()

        def folder() -> Path:
            return Path(place) / str(next(number))

        # The pair that is compared is timed too: there is nothing to warm up that a user would not wait for.
        start = time.perf_counter()
        losses, scores = by_hand(base, folder())
        middle = time.perf_counter()
        own_losses, own_scores = by_poolwise(base, folder())
        ratios = [(middle - start) / (time.perf_counter() - middle)]
        assert losses.keys() == own_losses.keys() and scores.keys() == own_scores.keys()
        gap = max(float(np.abs(np.subtract(losses[key], own_losses[key])).max()) for key in losses)
        drift = float(np.mean([abs(scores[key] - own_scores[key]) for key in scores]))
        assert gap < LOSS_TOLERANCE, f"losses differ by {gap:.3f}"
        assert drift < SCORE_TOLERANCE, f"scores differ by {drift:.3f} on average"
        ratios += paired_ratios(
            lambda: by_hand(base, folder()), lambda: by_poolwise(base, folder()), repeats=REPEATS - 1, warm=False
        )
    record("study of five designs", ratios, target=TARGET, worst_loss_gap=gap, mean_score_difference=drift, tasks=TASKS)


if __name__ == "__main__":
    main()
