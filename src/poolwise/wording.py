"""Names in sentences."""

from __future__ import annotations

from collections.abc import Sequence

MOST_NAMES = 8
"""A sentence with more names is not read."""
FIRST_NAMES = 5


def listed(names: Sequence[str], most: int | None = MOST_NAMES) -> str:
    """Return names as ``a, b and c``; of more than ``most`` the first, as ``a, b, c, d, e and 45 more``."""
    shown = list(names)
    if most is not None and len(shown) > most:
        shown = [*shown[:FIRST_NAMES], f"{len(shown) - FIRST_NAMES} more"]
    return " and ".join(part for part in (", ".join(shown[:-1]), *shown[-1:]) if part)
