"""Contrast of two colours, as WCAG 2.1 defines it."""

from __future__ import annotations

from collections.abc import Sequence


def luminance(colour: Sequence[float]) -> float:
    """Return the relative luminance of a colour of three numbers from 0 to 255."""
    parts = [c / 255 / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: float, two: float) -> float:
    """Return the contrast of two luminances, from 1 to 21."""
    return (max(one, two) + 0.05) / (min(one, two) + 0.05)
