"""The designs that a screen keeps: the best by mean rank over the categories."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from poolwise.results import CategoryMean, StudyResults
from poolwise.storage.json_text import load_json

FILE = "shortlist.json"
HEADS = "a screen on the frozen base, heads only"


def mean_ranks(means: Sequence[CategoryMean], designs: Sequence[str]) -> dict[str, float]:
    """Return each design's rank among ``designs`` by mean score, averaged over categories; 1 is best, ties share.

    A design without a score in some category comes last there.
    """
    scores = {(row.category, row.name): row.mean for row in means}
    categories = list(dict.fromkeys(row.category for row in means))
    table = np.array([[-scores.get((c, name), -np.inf) for name in designs] for c in categories])
    return dict(zip(designs, (float(rank) for rank in rankdata(table, axis=1).mean(axis=0)), strict=True))


def shortlist(ranks: dict[str, float], keep: int, reference: str) -> list[str]:
    """Return the ``keep`` designs with the best mean rank, plus the reference, in their given order.

    If ranks are equal, the earlier design is kept.
    """
    best = sorted(ranks, key=lambda name: ranks[name])[:keep]
    return [name for name in ranks if name in best or name == reference]


def as_screen(results: StudyResults, kind: Literal["screen", "trial"], prefix: str, note: str) -> StudyResults:
    """Mark results as those of a screen: in the notes, and in front of every recommendation."""
    found = results.results
    ranks = mean_ranks(found.comparison.means, [info.design for info in found.designs])
    order = ", ".join(f"{name} ({ranks[name]:.1f})" for name in sorted(ranks, key=lambda name: ranks[name]))
    notes = [note, f"mean rank over the categories, best first: {order}", *found.comparison.notes]
    said = [r.model_copy(update={"sentence": prefix + r.sentence}) for r in found.comparison.recommendations]
    comparison = found.comparison.model_copy(update={"notes": notes, "recommendations": said})
    return results.model_copy(update={"results": found.model_copy(update={"kind": kind, "comparison": comparison})})


def write_shortlist(screen: Path, ranks: dict[str, float], kept: Sequence[str], how: str) -> None:
    """Write the designs that a screen chose next to its results; ``how`` names the screen in a note of the study."""
    (screen / FILE).write_text(json.dumps({"kept": list(kept), "mean_ranks": ranks, "how": how}, indent=2) + "\n")


def with_shortlist(results: StudyResults, screen: Path) -> StudyResults:
    """Return the results of a study, with a note on the screen if it started with one."""
    path = screen / FILE
    if not path.is_file():
        return results
    found = load_json(path)
    left_out = {name: rank for name, rank in found["mean_ranks"].items() if name not in found["kept"]}
    listed = ", ".join(f"{name} ({left_out[name]:.1f})" for name in sorted(left_out, key=lambda name: left_out[name]))
    note = (
        f"the designs were chosen from {len(found['mean_ranks'])} by {found.get('how', HEADS)} "
        f"({screen.name}/report.html), by mean rank over the categories; left out: {listed}"
    )
    comparison = results.results.comparison
    noted = comparison.model_copy(update={"notes": [note, *comparison.notes]})
    return results.model_copy(update={"results": results.results.model_copy(update={"comparison": noted})})
