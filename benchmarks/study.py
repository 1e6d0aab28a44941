"""A whole study against the same work by hand: sentence-transformers' trainer and mteb's scores for each model.

python benchmarks/study.py

The five designs of the paper, two seeds, six tasks. By hand: one script with plain modules and padded passes that runs
each task separately. Each side is timed as a whole process. Both use the same batches and initial parameters. Losses
and scores must agree, or the times do not count.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _measure import REPEATS, in_own_process, record
from _peers import save_base, train_stock

from poolwise.config import build_recipe
from poolwise.design import parse_design
from poolwise.embedded.pydoc import pydoc_suite_path
from poolwise.records import load_steps
from poolwise.study.inputs import load_inputs
from poolwise.tasks import evaluate_task

TASKS = (
    "retrieval/pydoc-name-description",
    "retrieval/pydoc-summary-body",
    "classification/pydoc-kind",
    "clustering/pydoc-modules",
    "sts/pysts-code",
    "sts/pysts-hard",
)
TARGET = 1 / 0.6
Losses = dict[tuple[str, int], list[float]]
Scores = dict[tuple[str, int, str], float]
LOSS_TOLERANCE, SCORE_TOLERANCE = 0.08, 0.05
"""bf16 sums in another order drift apart over the steps; the mean over tasks and models moves far less."""


def recipe_tree(base: str) -> dict[str, Any]:
    return {
        "name": "study",
        "base": base,
        "designs": ["paper:1", "paper:2", "paper:3", "paper:4", "paper:5"],
        "reference": "paper:1",
        "seeds": [0, 1],
        "data": {"train": ["poolwise/pydoc"], "max_rows": 1000},
        "train": {"steps": 4, "batch_size": 16, "max_tokens": 48, "lora_dropout": 0.0, "learning_rate": 1e-3},
        "eval": {"max_tokens": 64},
        "tasks": [str(pydoc_suite_path() / task) for task in TASKS],
        "max_items": 40,
        "anchors": [],
    }


class PlainEncoder:
    """Reads what a task asks for, when it asks, at the defaults of ``encode``; the same list again is not read again,
    as mteb's clustering reads its texts once for all its k-means.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.known = model, {}

    def encode(self, texts: Any, prompt: str) -> Any:
        key = (prompt, *texts)
        if key not in self.known:
            self.known[key] = self.model.encode(list(texts), prompt=prompt or None)
        return self.known[key]


def by_hand(base: str, folder: Path) -> tuple[Losses, Scores]:
    """Return losses by design and seed, and scores by task beside them."""
    wanted = build_recipe(recipe_tree(base))
    inputs = load_inputs(wanted)
    losses, scores = {}, {}
    for seed in wanted.seeds:
        for design in wanted.designs:
            batches = inputs.schedules[seed].batches
            out = folder / f"{parse_design(design).slug}-{seed}"
            model, values, _ = train_stock(base, design, inputs.triples, batches, wanted.train, out, seed=seed)
            model.max_seq_length = wanted.max_tokens
            losses[design, seed] = values
            for task in inputs.tasks:
                scores[design, seed, task.name] = evaluate_task(task, PlainEncoder(model.eval())).score
    return losses, scores


def by_poolwise(base: str, out: Path) -> tuple[Losses, Scores]:
    """Return what ``by_hand`` does, from the command."""
    recipe = out.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump(recipe_tree(base)))
    command = [sys.executable, "-m", "poolwise.cli.main", "study", str(recipe), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    results = json.loads((out / "results.json").read_text())["results"]
    scores = {(row["name"], row["seed"], row["task"]): row["score"] for row in results["scores"]}
    losses = {}
    for manifest in (out / "runs").glob("*/run.json"):
        run = json.loads(manifest.read_text())
        losses[run["design"], run["seed"]] = [step.loss for step in load_steps(manifest.parent / "training.jsonl")]
    return losses, scores


def pair(base: str, place: Path) -> tuple[float, float, float, float]:
    """Return the seconds of both sides, the worst difference of a loss and the mean difference of scores."""
    start = time.perf_counter()
    losses, scores = in_own_process(by_hand, base, place / "by-hand")
    middle = time.perf_counter()
    own_losses, own_scores = by_poolwise(base, place / "study")
    end = time.perf_counter()
    assert losses.keys() == own_losses.keys() and scores.keys() == own_scores.keys()
    gap = max(float(np.abs(np.subtract(losses[key], own_losses[key])).max()) for key in losses)
    drift = float(np.mean([abs(scores[key] - own_scores[key]) for key in scores]))
    assert gap < LOSS_TOLERANCE, f"losses differ by {gap:.3f}"
    assert drift < SCORE_TOLERANCE, f"scores differ by {drift:.3f} on average"
    return middle - start, end - middle, gap, drift


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        base = save_base(Path(place) / "nano", "nano")
        pairs = []
        for number in range(REPEATS):
            folder = Path(place) / f"pair-{number}"
            folder.mkdir()
            pairs.append(pair(base, folder))
            print(f"by hand {pairs[-1][0]:.0f} s, poolwise {pairs[-1][1]:.0f} s", flush=True)
    slow, fast, gaps, drifts = zip(*pairs, strict=True)
    record(
        "study of five designs",
        [a / b for a, b in zip(slow, fast, strict=True)],
        target=TARGET,
        seconds_by_hand=statistics.median(slow),
        seconds=statistics.median(fast),
        worst_loss_gap=max(gaps),
        mean_score_difference=max(drifts),
        recipe=recipe_tree("poolwise/nano"),
    )


if __name__ == "__main__":
    main()
