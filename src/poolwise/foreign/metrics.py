"""Scores of one query from its ranking and judgements, as defined by trec_eval."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2

Judgements = Mapping[str, int]
"""Relevance by document of one query; 0 and below is not relevant."""


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Return the documents, best first; ties are sorted by descending name, which is trec_eval's rule."""
    return [name for name, _ in sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)]


def ndcg(scores: Mapping[str, float], relevant: Judgements, depth: int = 10) -> float:
    """Return nDCG at ``depth`` with the grade as the gain; 0 if no document is relevant."""
    best = _gain(sorted(relevant.values(), reverse=True)[:depth])
    return _gain([relevant.get(name, 0) for name in ranked(scores)[:depth]]) / best if best else 0.0


def average_precision(scores: Mapping[str, float], relevant: Judgements) -> float:
    """Return the average precision over the whole ranking; 0 if no document is relevant."""
    found, total = 0, 0.0
    for position, name in enumerate(ranked(scores), start=1):
        if relevant.get(name, 0) > 0:
            found += 1
            total += found / position
    num_relevant = sum(grade > 0 for grade in relevant.values())
    return total / num_relevant if num_relevant else 0.0


def _gain(grades: list[int]) -> float:
    return sum(max(grade, 0) / log2(position + 1) for position, grade in enumerate(grades, start=1))
