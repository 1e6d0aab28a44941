"""Team-draft interleaving: one ranking from two arms, and which arm a click is credited to.

Source: Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence


def interleave(rankings: Mapping[str, Sequence[str]], length: int, seed: str) -> list[tuple[str, str]]:
    """Return up to ``length`` documents with the arm that each is credited to, the first first.

    In each round both arms pick their highest document that is not yet in the list, in an order drawn by a coin. A
    ranking that has no more documents passes.

    Law: the documents are distinct; the picks of the two arms differ by at most one while both have documents; the same
    seed gives the same list, and over seeds the list of A and B has the distribution of that of B and A.

    Args:
        rankings: two arms and their documents, the best first. seed: the id of the exposure.
    """
    if len(rankings) != 2:
        raise ValueError(f"interleaving takes two rankings, got {len(rankings)}")
    coin = random.Random(seed)
    picked: list[tuple[str, str]] = []
    seen: set[str] = set()
    left = {arm: iter(documents) for arm, documents in sorted(rankings.items())}
    while len(picked) < length and left:
        order = sorted(left)
        coin.shuffle(order)
        for arm in order:
            document = next((d for d in left[arm] if d not in seen), None)
            if document is None:
                del left[arm]
            elif len(picked) < length:
                seen.add(document)
                picked.append((document, arm))
    return picked


def preference(teams: Mapping[str, str], clicked: Iterable[str], baseline: str) -> float:
    """Return which arm a user preferred in one interleaved list: 1 the other arm, -1 the baseline, 0 neither.

    The arm with more clicked documents is preferred; several clicks on one document count once.
    """
    credit = sum(-1 if teams[document] == baseline else 1 for document in set(clicked) if document in teams)
    return float((credit > 0) - (credit < 0))
