"""Numbers as text, the same for all outputs: four decimals for scores, a sign on every difference."""

from __future__ import annotations

MINUS = "\u2212"


def score_text(value: float | None) -> str:
    """Return a score with four decimals; a dash if there is none."""
    return "–" if value is None else f"{value:.4f}".replace("-", MINUS)


def difference_text(value: float) -> str:
    """Return a difference with sign and four decimals; no sign if it rounds to zero."""
    text = f"{value:+.4f}".replace("-", MINUS)
    return "0.0000" if text.lstrip(f"+{MINUS}") == "0.0000" else text


def interval_text(interval: tuple[float, float] | None) -> str:
    """Return ``[low, high]`` with signs; a dash if there is none."""
    return "–" if interval is None else f"[{difference_text(interval[0])}, {difference_text(interval[1])}]"


def spread_text(value: float | None) -> str:
    """Return ``± s`` for a standard deviation; empty if unknown."""
    return "" if value is None else f"± {value:.4f}"


def p_text(value: float | None) -> str:
    """Return a p-value with three decimals, four below 0.01, one significant digit below 0.001; never ``0``."""
    if value is None:
        return "–"
    if value < 0.00095:
        return f"{value:.1g}".replace("-", MINUS)
    if value < 0.00995:
        return f"{value:.4f}"
    return "1" if value > 0.9995 else f"{value:.3f}"


def share_text(value: float | None) -> str:
    """Return a share or probability in percent; a dash if there is none."""
    return "–" if value is None else f"{100 * value:.1f}%"


def count_text(value: float | None) -> str:
    """Return a whole number with thousands separators; a dash if there is none."""
    return "–" if value is None else f"{value:,.0f}"


def short_count_text(value: float | None) -> str:
    """Return a count with three digits and K, M or B; a dash if there is none."""
    if value is None:
        return "–"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def seconds_text(value: float | None) -> str:
    """Return a time in seconds, minutes or hours; a dash if there is none."""
    if value is None:
        return "–"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def gib_text(value: float | None) -> str:
    """Return memory in GiB; a dash if it was not measured."""
    return "–" if value is None else f"{value:.2f} GiB"
