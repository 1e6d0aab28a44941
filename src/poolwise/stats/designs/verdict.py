"""The rule for verdicts, and its description in words."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.results import Contrast, Verdict

ALPHA = 0.05
EQUIVALENCE = 0.005
"""Half a point of 100: about the difference that separates ranks in published tables of embedding models."""

OVERLAP = "the interval overlaps the region of practical equality: the difference may be too small to matter"
UNCONFIRMED = "the interval excludes 0, but the corrected p is above 0.05: no verdict"
SMALL = "differs from 0, but too little to matter in practice"


def decide(interval: tuple[float, float] | None, equivalence: float) -> tuple[Verdict, str]:
    """Return the verdict on ``a - b`` from its simultaneous interval, and a note on it.

    Inside the region of practical equality: equal. Otherwise, if it excludes 0: better or worse. Else not decided.
    """
    if interval is None:
        return "not decided", ""
    low, high = interval
    if -equivalence <= low and high <= equivalence:
        return "equal", SMALL if low > 0 or high < 0 else ""
    if low > 0:
        return "better", OVERLAP if low < equivalence else ""
    if high < 0:
        return "worse", OVERLAP if high > -equivalence else ""
    return "not decided", ""


def confirm(contrasts: Sequence[Contrast]) -> None:
    """Change better and worse to not decided, in place, if Holm's corrected p is above 0.05.

    A bootstrap interval of few items is too short: two equal models with ten items and no seed effect got a verdict
    in 10 of 100 repeats, with this check in 4. The permutation test keeps its level at any number of items.
    """
    for contrast in contrasts:
        if contrast.verdict in ("better", "worse") and (contrast.p_holm is None or contrast.p_holm > ALPHA):
            note = "; ".join(part for part in (contrast.note, UNCONFIRMED) if part and part != OVERLAP)
            contrast.verdict, contrast.note = "not decided", note.replace(f"; {OVERLAP}", "")


def rule(num_tests: int, equivalence: dict[str, float]) -> str:
    """Return the rule in words, with the numbers of this comparison."""
    level = 100 * (1 - ALPHA / max(1, num_tests))
    sizes = sorted(set(equivalence.values()))
    region = (
        f"{sizes[0]:g}"
        if len(sizes) == 1
        else ", ".join(f"{size:g} for {category}" for category, size in equivalence.items())
    )
    return (
        f"Verdict: each contrast of the primary family has one interval at {level:.5g}% (0.05 divided among "
        f"{num_tests} contrasts), so that all intervals hold together at 95%. Differences up to {region} do not matter "
        "in practice. An interval inside that region means practically equal. An interval that excludes 0 means "
        "better or worse if Holm's corrected p is at most 0.05; a note says if it overlaps the region. Anything else "
        "is not decided, which is not the same as equal."
    )
