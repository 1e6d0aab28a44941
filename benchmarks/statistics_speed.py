"""Time and memory of `compare_runs`, including tests and bootstrap, and how they grow with the number of items.

python benchmarks/statistics_speed.py

Every number is measured in a separate process. The benchmark fails if 10,000 resamples of 20,000 items for 8 models
(28 contrasts) exceed their time budget on two cores or take 1 GB of memory or more, or if the time per item grows with
the number of items. All pairs of 20, 50 and 200 published models, by scores on 36 tasks, have budgets too.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
from statistics_page import save, write_page

from poolwise.records import METRICS, Category, ItemScores, Run, RunManifest
from poolwise.stats import compare_runs

NUM_MODELS = 8
BUDGETS: dict[Category, float] = {"retrieval": 20.0, "classification": 20.0, "sts": 90.0, "pair_classification": 90.0}
"""Seconds for 10,000 resamples of 20,000 items."""
MOST_GB = 1.0
GROWTH: tuple[Category, ...] = ("retrieval", "sts", "pair_classification", "clustering")
SIZES = (10, 100, 1_000, 10_000, 100_000)
MOST_GROWTH = 3.0
"""Time per item at the largest size over the least at any: caches are left, sorting takes n log n; 1.0 is linear."""


def runs_of(category: Category, num_items: int) -> list[Run]:
    """Return a run of each model on one simulated task; k-means seeds are three."""
    rng = np.random.default_rng(0)
    ids = [f"{number:06d}" for number in range(num_items)]
    gold = {
        "sts": rng.integers(0, 6, num_items) / 5,
        "pair_classification": np.arange(num_items) % 2.0,
        "clustering": rng.integers(0, 20, num_items),
    }.get(category, np.zeros(num_items))
    runs = []
    for number in range(NUM_MODELS):
        fields: dict[str, object] = {}
        if category == "clustering":
            known = rng.random((3, num_items)) < 0.5
            fields["assignments"] = np.where(known, gold, rng.integers(0, 20, (3, num_items))).tolist()
            fields["gold"] = [str(label) for label in gold]
        elif category in ("sts", "pair_classification"):
            fields |= {"values": (0.5 * gold + rng.normal(0, 0.3, num_items)).tolist(), "gold": gold.tolist()}
        else:
            fields["values"] = (rng.integers(0, 11, num_items) / 10).tolist()
        record = ItemScores(
            task=f"{category}/t",
            category=category,
            metric=METRICS[category],
            score=0.5,
            num_total=num_items,
            fingerprint="simulated",
            ids=ids,
            **fields,  # type: ignore[arg-type]
        )
        manifest = RunManifest(name=f"m{number}", kind="external", model=f"m{number}")
        runs.append(Run(manifest=manifest, scores={record.task: record}))
    return runs


def measure(category: Category, num_items: int, num_resamples: int) -> dict[str, float]:
    """Return wall and processor seconds of one comparison, and the peak of this process in GB."""
    runs = runs_of(category, num_items)
    wall, processor = time.perf_counter(), time.process_time()
    found = compare_runs(runs, num_resamples=num_resamples)
    assert len(found.task_contrasts) == NUM_MODELS * (NUM_MODELS - 1) // 2
    return {
        "wall": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


PUBLISHED: dict[Category, int] = {
    "sts": 8,
    "classification": 8,
    "retrieval": 10,
    "clustering": 5,
    "reranking": 2,
    "pair_classification": 3,
}
MODELS = {20: 10.0, 50: 30.0, 200: 300.0}
"""Seconds for all pairs of so many published models, by their scores on 36 tasks."""


def measure_published(num_models: int) -> dict[str, float]:
    """Return seconds and memory of comparing all pairs of models of which only scores are known."""
    rng = np.random.default_rng(0)
    runs = []
    for number in range(num_models):
        level = rng.normal(0.5, 0.03)
        records = [
            ItemScores(
                task=f"{category}/t{place}",
                category=category,
                metric=METRICS[category],
                score=level + rng.normal(0, 0.02),
                num_total=0,
                fingerprint="simulated",
                ids=[],
            )
            for category, count in PUBLISHED.items()
            for place in range(count)
        ]
        manifest = RunManifest(name=f"m{number}", kind="external", model=f"m{number}")
        runs.append(Run(manifest=manifest, scores={record.task: record for record in records}))
    wall, processor = time.perf_counter(), time.process_time()
    found = compare_runs(runs)
    assert len(found.contrasts) == len(PUBLISHED) * num_models * (num_models - 1) // 2
    return {
        "wall": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def published_in_process(num_models: int) -> dict[str, float | int | str]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, str(num_models)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    row = {"what": "scores only", "models": num_models, **json.loads(output)}
    print(f"{num_models} models on 36 tasks: {row['wall']:.1f} s, {row['memory']:.2f} GB", flush=True)
    return row


def in_process(category: Category, num_items: int, num_resamples: int) -> dict[str, float | int | str]:
    """Measure in a process of its own, with the threads of two cores."""
    command = [sys.executable, __file__, category, str(num_items), str(num_resamples)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    row = {"what": category, "items": num_items, "resamples": num_resamples, **json.loads(output)}
    print(f"{category}, {num_items:,} items: {row['wall']:.2f} s, {row['processor']:.2f} s of processor", flush=True)
    return row


def main() -> int:
    budgets, problems = [], []
    for category, budget in BUDGETS.items():
        row = in_process(category, 20_000, 10_000) | {"budget": budget}
        budgets.append(row)
        problems += [f"{category}: {row['wall']:.1f} s, budget {budget} s"] if row["wall"] > budget else []
        problems += [f"{category}: {row['memory']:.2f} GB"] if row["memory"] >= MOST_GB else []
    growth = []
    for category in GROWTH:
        rows = [in_process(category, size, 1_000) for size in SIZES]
        for row in rows:
            row["per_item"] = 1e6 * row["processor"] / row["items"]
        growth += rows
        ratio = rows[-1]["per_item"] / min(row["per_item"] for row in rows)
        problems += [f"{category}: an item costs {ratio:.1f} times as much"] if ratio > MOST_GROWTH else []
        problems += [f"{category}: {rows[-1]['memory']:.2f} GB"] if rows[-1]["memory"] >= MOST_GB else []
    published = []
    for num_models, budget in MODELS.items():
        row = published_in_process(num_models) | {"budget": budget}
        published.append(row)
        problems += [f"{num_models} models: {row['wall']:.1f} s, budget {budget} s"] if row["wall"] > budget else []
        problems += [f"{num_models} models: {row['memory']:.2f} GB"] if row["memory"] >= MOST_GB else []
    save("statistics_speed", {"budgets": budgets, "growth": growth, "published": published})
    write_page()
    print("\n".join(problems) or "within budget")
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))  # type: ignore[arg-type]
    elif len(sys.argv) == 2:
        print(json.dumps(measure_published(int(sys.argv[1]))))
    else:
        sys.exit(main())
