"""Runs made by hand for the statistics tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from poolwise.records import METRICS, Category, ItemScores, Run, RunManifest


def scores(task: str, score: float, *, category: Category = "retrieval", **fields: object) -> ItemScores:
    """Return a record of one task; without further fields it has a score and no items, like a published result."""
    defaults: dict[str, object] = {"metric": METRICS[category], "num_total": 1, "fingerprint": f"f-{task}", "ids": []}
    return ItemScores(task=f"{category}/{task}", category=category, score=score, **(defaults | fields))


def values(task: str, per_item: Sequence[float], *, category: Category = "retrieval", **fields: object) -> ItemScores:
    """Return a record of a metric that is the mean of its items."""
    ids = [f"i{number:05d}" for number in range(len(per_item))]
    items: dict[str, object] = {"ids": ids, "values": [float(value) for value in per_item]}
    return scores(task, float(np.mean(per_item)), category=category, **(items | fields))


def run(
    name: str, records: Sequence[ItemScores], *, seed: int = 0, kind: str = "trained", parameters: int | None = None
) -> Run:
    """Return a run of a design (``a+b``), an anchor or an external model."""
    manifest = RunManifest(
        name=f"{name}-{seed}" if kind == "trained" else name,
        kind=kind,  # type: ignore[arg-type]
        design=name if kind == "trained" else None,
        seed=seed,
        model=name,
        trainable_parameters=parameters,
    )
    return Run(manifest=manifest, scores={record.task: record for record in records})


def score_runs(
    table: Mapping[str, Sequence[float]],
    *,
    category: Category = "retrieval",
    kind: str = "trained",
    seeds: Sequence[int] = (0, 1),
) -> list[Run]:
    """Return a run for every name and seed (foreign models: one), with one score a task and no items."""
    return [
        run(
            name,
            [scores(f"t{number:02d}", score, category=category) for number, score in enumerate(row)],
            kind=kind,
            seed=seed,
        )
        for name, row in table.items()
        for seed in (seeds if kind == "trained" else (0,))
    ]
