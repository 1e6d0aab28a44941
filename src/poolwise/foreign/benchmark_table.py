"""Ranks the models of a comparison on a benchmark of MTEB: means, Borda ranks, their intervals, and groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from poolwise.foreign.benchmarks import Benchmark
from poolwise.foreign.source import Source
from poolwise.records import Run
from poolwise.results import BenchmarkRow, BenchmarkTable
from poolwise.stats.core.borda import MIN_UNITS, borda_points, borda_ranks, pair_p_values, rank_intervals, windows
from poolwise.stats.core.resampling import units_of
from poolwise.stats.designs.task_families import family_of

LEVEL = 0.05
METHOD = (
    "Means and Borda ranks as on MTEB's leaderboard, among the models here: in each task a model earns one point for "
    "each model that it beats, half a point for a tie. Rank intervals: 95% of bootstrap samples of the tasks. Models "
    "in one group are not separated: sign-flip tests of their points over tasks, corrected for all pairs "
    "(Westfall-Young), at 0.05; an interval is of one model alone. Tasks made from the same texts are drawn and "
    "flipped together."
)


def benchmark_table(benchmark: Benchmark, runs: Sequence[Run], sources: Sequence[Source]) -> BenchmarkTable:
    """Return the ranks of all models that have every task of the benchmark; other models are named.

    Law: the same inputs give the same table, in any order of the models but for ties.
    """
    scores = _scores(benchmark, runs, sources)
    incomplete = {
        name: lacking for name, found in scores.items() if (lacking := sorted(benchmark.tasks.keys() - found.keys()))
    }
    names = [name for name in scores if name not in incomplete]
    kinds: dict[str, list[str]] = {}
    for task in benchmark.tasks.values():
        kinds.setdefault(task.kind, []).append(task.name)
    rows, groups = _ranked(benchmark, {name: scores[name] for name in names}, kinds) if names else ([], [])
    notes = [benchmark.note] if benchmark.note else []
    if rows and rows[0].rank_interval is None:
        notes.append(f"no rank intervals: fewer than {MIN_UNITS} independent tasks")
    return BenchmarkTable(
        benchmark=benchmark.name,
        num_tasks=len(benchmark.tasks),
        types={kind: len(tasks) for kind, tasks in kinds.items()},
        rows=rows,
        groups=groups,
        incomplete=incomplete,
        method=METHOD,
        notes=notes,
    )


def _scores(benchmark: Benchmark, runs: Sequence[Run], sources: Sequence[Source]) -> dict[str, dict[str, float]]:
    """Return the score of each model on each task of the benchmark, the mean over its seeds."""
    by_seed: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        mine = by_seed.setdefault(run.manifest.label, {})
        for task, record in run.scores.items():
            if (name := task.rpartition("/")[2]) in benchmark.tasks:
                mine.setdefault(name, []).append(record.score)
    for source in sources:
        for model, found in source.other_scores.items():
            for name, values in found.items():
                by_seed.setdefault(model, {}).setdefault(name, []).extend(values)
    return {
        model: {name: math.fsum(values) / len(values) for name, values in found.items()}
        for model, found in by_seed.items()
    }


def _ranked(
    benchmark: Benchmark, scores: Mapping[str, Mapping[str, float]], kinds: Mapping[str, Sequence[str]]
) -> tuple[list[BenchmarkRow], list[list[str]]]:
    names = list(scores)
    table = np.array([[scores[name][task] for name in names] for task in benchmark.tasks])
    units = units_of([family_of(f"{task.kind}/{task.name}").source for task in benchmark.tasks.values()], len(table))
    points = borda_points(table)
    totals = points.sum(axis=0)
    ranks, intervals = borda_ranks(totals), rank_intervals(points, units)
    rows = []
    for place, name in enumerate(names):
        by_kind = {kind: _mean([scores[name][task] for task in tasks]) for kind, tasks in kinds.items()}
        interval = None if intervals is None else (int(intervals[place, 0]), int(intervals[place, 1]))
        rows.append(
            BenchmarkRow(
                name=name,
                rank=int(ranks[place]),
                rank_interval=interval,
                points=float(totals[place]),
                mean=_mean([scores[name][task] for task in benchmark.tasks]),
                mean_of_types=_mean(list(by_kind.values())),
                by_type=by_kind,
            )
        )
    order = sorted(range(len(names)), key=lambda place: (rows[place].rank, -rows[place].mean))
    separated = (pair_p_values(points, units) <= LEVEL)[np.ix_(order, order)]
    groups = [[names[order[place]] for place in range(first, last + 1)] for first, last in windows(separated)]
    return [rows[place] for place in order], groups


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
