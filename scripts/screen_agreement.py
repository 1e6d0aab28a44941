"""How well a screen's ranking agrees with a study's: Kendall's tau by category and overall, intervals over tasks.

python scripts/screen_agreement.py runs/controlled-screen docs/results/controlled
python scripts/screen_agreement.py docs/results/controlled    each seed of a study against its other seeds

A screen by training is compared with the other seeds of the study: they share no training.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, rankdata

from poolwise.records import load_record
from poolwise.results import Results, StudyResults

RESAMPLES = 10_000
OVERALL = "overall (mean rank over categories)"
Table = dict[str, np.ndarray]
"""By category: mean scores over seeds, designs x tasks."""


def load_results(place: Path) -> Results:
    """Return the results in a folder or a ``results.json``."""
    path = place if place.suffix == ".json" else place / "results.json"
    return load_record(StudyResults, path).results


def score_tables(first: Results, second: Results) -> tuple[list[str], dict[str, list[str]], Table, Table]:
    """Return the designs and tasks that both have, and the mean scores of each; tasks are by category."""
    is_trial = first.kind == "trial"
    seen = {row.seed for row in first.scores} if is_trial else set()
    both = [_by_task(first, set()), _by_task(second, seen)]
    known = [{name for name, _ in table} for table in both]
    designs = [info.design for info in first.designs if info.design in known[0] & known[1]]
    complete = [{task for _, task in table if all((d, task) in table for d in designs)} for table in both]
    fingerprints = {task.task: task.fingerprint for task in second.tasks}
    tasks: dict[str, list[str]] = {}
    for task in first.tasks:
        if task.task in complete[0] & complete[1] and (is_trial or fingerprints[task.task] == task.fingerprint):
            tasks.setdefault(task.category, []).append(task.task)
    tables = [
        {c: np.array([[table[d, task] for task in names] for d in designs]) for c, names in tasks.items()}
        for table in both
    ]
    return designs, tasks, tables[0], tables[1]


def _by_task(results: Results, without_seeds: set[int | None]) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], list[float]] = {}
    for row in results.scores:
        if row.seed not in without_seeds:
            found.setdefault((row.name, row.task), []).append(row.score)
    return {key: float(np.mean(values)) for key, values in found.items()}


def overall_ranks(means: dict[str, np.ndarray]) -> np.ndarray:
    """Return each design's rank by category mean, averaged over categories; 1 is best."""
    return np.mean([rankdata(-mean) for mean in means.values()], axis=0)


def taus(first: Table, second: Table, drawn: dict[str, np.ndarray]) -> dict[str, float]:
    """Return tau-b of the two rankings by category and overall, on the drawn tasks of each category."""
    one, two = ({c: t[c][:, drawn[c]].mean(axis=1) for c in t} for t in (first, second))
    found = {c: float(kendalltau(one[c], two[c]).statistic) for c in one}
    return found | {OVERALL: float(kendalltau(overall_ranks(one), overall_ranks(two)).statistic)}


def agreement(first: Table, second: Table, seed: int = 0) -> dict[str, dict[str, float | None]]:
    """Return tau with its 95% percentile interval over resampled tasks, and p of tau where rankings are unrelated.

    A category of one task has no interval. Seeds enter through the means alone.
    """
    rng = np.random.default_rng(seed)
    sizes = {category: table.shape[1] for category, table in first.items()}
    observed = taus(first, second, {c: np.arange(n) for c, n in sizes.items()})
    draws = [taus(first, second, {c: rng.integers(n, size=n) for c, n in sizes.items()}) for _ in range(RESAMPLES)]
    one, two = ({c: t[c].mean(axis=1) for c in t} for t in (first, second))
    pairs = {c: (one[c], two[c]) for c in one} | {OVERALL: (overall_ranks(one), overall_ranks(two))}
    rows: dict[str, dict[str, float | None]] = {}
    for name, tau in observed.items():
        varied = sizes.get(name, 2) > 1
        low, high = np.nanquantile([draw[name] for draw in draws], [0.025, 0.975]) if varied else (None, None)
        p = float(kendalltau(*pairs[name]).pvalue)
        rows[name] = {"tau": tau, "low": low, "high": high, "p": p, "tasks": sizes.get(name, sum(sizes.values()))}
    return rows


def markdown(designs: list[str], rows: dict[str, dict[str, float | None]], first: Table, second: Table) -> str:
    """Return the table of taus and that of the two overall rankings."""
    lines = [
        f"{len(designs)} designs in both.",
        "",
        "| category | tasks | tau | 95% over tasks | p |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        interval = "one task" if row["low"] is None else f"{row['low']:+.2f} to {row['high']:+.2f}"
        lines.append(f"| {name} | {row['tasks']} | {row['tau']:+.2f} | {interval} | {row['p']:.3f} |")
    ranks = [overall_ranks({c: t[c].mean(axis=1) for c in t}) for t in (first, second)]
    lines += ["", "| design | mean rank, screen | mean rank, study |", "|---|---|---|"]
    for place in np.argsort(ranks[1], kind="stable"):
        lines.append(f"| {designs[place]} | {ranks[0][place]:.2f} | {ranks[1][place]:.2f} |")
    return "\n".join(lines)


def between_seeds(study: Results) -> str:
    """Return a table of how well each seed of a study ranks its designs as the other seeds do together."""
    seeds = sorted({row.seed for row in study.scores if row.name in {info.design for info in study.designs}})
    lines = []
    for seed in seeds:
        one = study.model_copy(update={"kind": "trial", "scores": [row for row in study.scores if row.seed == seed]})
        _, tasks, first, second = score_tables(one, study)
        found = taus(first, second, {c: np.arange(len(names)) for c, names in tasks.items()})
        lines = lines or [f"| seed | {' | '.join(found)} |", "|---|" + "---|" * len(found)]
        lines.append(f"| {seed} | {' | '.join(f'{tau:+.2f}' for tau in found.values())} |")
    return "\n".join(lines)


def main(screen: Path, study: Path) -> None:
    """Print the agreement as Markdown and write it as JSON beside the screen's results."""
    first, second = load_results(screen), load_results(study)
    designs, tasks, one, two = score_tables(first, second)
    if len(designs) < 3 or not tasks:
        sys.exit(f"{len(designs)} designs and {sum(map(len, tasks.values()))} tasks in both: nothing to rank")
    rows = agreement(one, two)
    print(markdown(designs, rows, one, two))
    folder = screen if screen.is_dir() else screen.parent
    result = {"designs": designs, "tasks": tasks, "agreement": rows, "resamples": RESAMPLES}
    (folder / "agreement.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(between_seeds(load_results(Path(sys.argv[1]))))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
