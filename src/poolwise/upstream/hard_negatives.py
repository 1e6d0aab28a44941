"""What ``mine_hard_negatives`` of sentence-transformers prints, checked against 6.2.0.

It returns the negatives but only prints how many candidates each guard rejected. If the sentence is reworded,
``mining.mine_pairs`` reports no counts; the negatives are the same.
"""

from __future__ import annotations

import re

_SKIPPED = re.compile(r"^Skipped ([\d,]+) potential negatives .* due to the (\w+) of ", re.MULTILINE)


def rejected_by_guard(printed: str) -> dict[str, int]:
    """Return the number of candidates that each guard rejected, by the name of the argument."""
    return {name: int(count.replace(",", "")) for count, name in _SKIPPED.findall(printed)}
