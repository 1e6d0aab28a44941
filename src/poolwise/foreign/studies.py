"""Several studies side by side: runs that both hold are taken once, designs on other bases get names of their own."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.records import Run


def once(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs without those that repeat an earlier one score for score, and a note that names them.

    Two studies that differ in what only some designs read have the other designs, and the anchors, in common. A run
    that repeats another by name but not by its scores stays, and is an error of the comparison.
    """
    kept: list[Run] = []
    repeated: dict[str, None] = {}
    for run in runs:
        if any(_is_repeat(run, other) for other in kept):
            repeated[run.manifest.label] = None
        else:
            kept.append(run)
    note = f"in more than one input with the same scores, taken once: {', '.join(repeated)}"
    return kept, [note] if repeated else []


def _is_repeat(run: Run, other: Run) -> bool:
    one, two = run.manifest, other.manifest
    is_same = (one.kind, one.label, one.seed, one.adaptation) == (two.kind, two.label, two.seed, two.adaptation)
    return is_same and bool(run.scores) and run.scores == other.scores


def told_apart(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs, those on an adapted base marked where their design is there on another base too; and a note."""
    bases: dict[str, dict[str, None]] = {}
    for run in runs:
        bases.setdefault(run.manifest.label, {})[run.manifest.adaptation] = None
    keys = list(dict.fromkeys(key for found in bases.values() if len(found) > 1 for key in found if key))
    names = {key: "adapted" if len(keys) == 1 else f"adapted {key[:8]}" for key in keys}
    marked = [
        run.model_copy(update={"manifest": run.manifest.model_copy(update={"variant": names[key]})})
        if (key := run.manifest.adaptation) and len(bases[run.manifest.label]) > 1
        else run
        for run in runs
    ]
    note = "(adapted): on a base that had masked next-token training before, of which a difference may come"
    return marked, [note] if keys else []
