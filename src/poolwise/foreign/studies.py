"""Compares several studies: shared runs are used once, and designs on different bases get different names."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.records import Run


def once(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs without repeats (same name and same scores), and a note that lists the repeats.

    Two studies may differ only in settings of some designs; then they share the other designs and the baselines. A run
    with the name of another but different scores stays, and the comparison reports it as an error.
    """
    kept: list[Run] = []
    repeated: dict[str, None] = {}
    for run in runs:
        if any(_is_repeat(run, other) for other in kept):
            repeated[run.manifest.label] = None
        else:
            kept.append(run)
    note = f"in several inputs with the same scores, used once: {', '.join(repeated)}"
    return kept, [note] if repeated else []


def _is_repeat(run: Run, other: Run) -> bool:
    one, two = run.manifest, other.manifest
    is_same = (one.kind, one.label, one.seed, one.adaptation) == (two.kind, two.label, two.seed, two.adaptation)
    return is_same and bool(run.scores) and run.scores == other.scores


def told_apart(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs and a note. Runs on an adapted base are marked if their design is also there on another base."""
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
    note = "(adapted): on a base with earlier masked next-token training, which may explain part of a difference"
    return marked, [note] if keys else []
