"""The rule for verdicts, and its description in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.results import Contrast, Verdict

ALPHA = 0.05
EQUIVALENCE = 0.005
"""Half a point of 100: about the difference that separates ranks in published tables of embedding models."""

Interval = tuple[float, float]

OVERLAP = "the interval overlaps the region of practical equality: the difference may be too small to matter"
UNCONFIRMED = "the interval excludes 0, but the corrected p is above 0.05: no verdict"
SMALL = "differs from 0, but too little to matter in practice"
ONE_SEED = "one seed: the variation between training runs is unknown, so no verdict on the designs"
OPPOSED = "the mean and the typical task differ in opposite directions (a few large differences): no verdict"
UNSEEN = "the interval is inside the region of practical equality, but a difference beyond it could have been missed"
MEAN_OPEN = "better or worse on the typical task; the interval of the mean includes 0"


def is_inside(interval: Interval | None, equivalence: float) -> bool:
    """Return whether an interval lies in the region of practical equality."""
    return interval is not None and -equivalence <= interval[0] and interval[1] <= equivalence


def decide(interval: Interval | None, equivalence: float, detectable: float | None = None) -> tuple[Verdict, str]:
    """Return the verdict on ``a - b`` from its simultaneous interval, and a note on it.

    Inside the region of practical equality: equal, unless a difference beyond the region could have been missed.
    Otherwise, if it excludes 0: better or worse. Else not decided.

    Args:
        detectable: the difference that the test would have found in 80 of 100 studies; None if it is unknown.
    """
    if interval is None:
        return "not decided", ""
    low, high = interval
    if is_inside(interval, equivalence):
        if detectable is not None and detectable > equivalence:
            return "not decided", UNSEEN
        return "equal", SMALL if low > 0 or high < 0 else ""
    if low > 0:
        return "better", OVERLAP if low < equivalence else ""
    if high < 0:
        return "worse", OVERLAP if high > -equivalence else ""
    return "not decided", ""


def decide_over_tasks(
    mean: float,
    of_mean: Interval | None,
    of_typical: Interval | None,
    equivalence: float,
    detectable: float | None,
) -> tuple[Verdict, str]:
    """Return the verdict of a test over tasks, whose p is about the typical task, and a note on it.

    Equal needs the intervals of both the mean and the typical task in the region: four tasks of thirty that differ by
    .2 leave the typical difference at 0 and the mean at .027. Better and worse need the typical task's interval beyond
    0, and a mean of the same sign.
    """
    if is_inside(of_typical, equivalence) and not is_inside(of_mean, equivalence):
        return "not decided", "the typical task is practically equal, the mean is not shown to be"
    verdict, note = decide(of_typical, equivalence, detectable)
    if verdict in ("better", "worse"):
        if mean * (1 if verdict == "better" else -1) <= 0:
            return "not decided", OPPOSED
        if of_mean is not None and of_mean[0] <= 0 <= of_mean[1]:
            note = "; ".join(part for part in (MEAN_OPEN, note) if part)
    return verdict, note


def confirm(contrasts: Sequence[Contrast]) -> None:
    """Change better and worse to not decided, in place, if Holm's corrected p is above 0.05.

    A bootstrap interval of few items is too short: two equal models with ten items and no seed effect got a verdict
    in 10 of 100 repeats, with this check in 4. The permutation test keeps its level at any number of items.
    """
    for contrast in contrasts:
        if contrast.verdict in ("better", "worse") and (contrast.p_holm is None or contrast.p_holm > ALPHA):
            note = "; ".join(part for part in (contrast.note, UNCONFIRMED) if part and part != OVERLAP)
            contrast.verdict, contrast.note = "not decided", note.replace(f"; {OVERLAP}", "")


def rule(sizes: Mapping[str, int], equivalence: Mapping[str, float], share: float = 1.0) -> str:
    """Return the rule in words, with the numbers of this comparison.

    Args:
        sizes: by family (a category, or "" for all together), among how many contrasts 0.05 is divided.
        share: the part of 0.05 that this comparison may use.
    """
    alpha = ALPHA * share
    levels = {name: f"{100 * (1 - alpha / max(1, size)):.5g}% ({alpha:.3g} / {size})" for name, size in sizes.items()}
    level = levels.get("") or "; ".join(f"{name.replace('_', ' ')} {text}" for name, text in levels.items())
    margins = sorted(set(equivalence.values()))
    region = (
        f"{margins[0]:g}"
        if len(margins) == 1
        else ", ".join(f"{size:g} for {category}" for category, size in equivalence.items())
    )
    return (
        f"Verdict: each contrast has one interval at {level}, so that all of a family hold together at "
        f"{100 * (1 - alpha):.4g}%; contrasts "
        f"whose data could not have given a significant result do not count. Differences up to {region} do not matter "
        "in practice. An interval inside that region means practically equal, if a difference beyond it would have "
        "been found; over tasks, both the mean and the typical task must be inside. An interval that excludes 0 means "
        "better or worse if Holm's corrected p is at most 0.05; a note says if it overlaps the region. Anything else "
        "is not decided, which is not the same as equal."
    )
