"""Compares several studies: shared runs are used once, and designs on different bases get different names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


WEIGHTS = "weights of the base"
_SHOWN = {"steps": "{} steps", "base": "base {}", "data": "data {:.8}", "prompts": "prompts {:.8}", "method": "{}"}
"""How a difference in training is named; other settings by their key and value."""


def by_training(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs and a note. Runs of one design are its seeds only if base, data and settings of their training
    agree; otherwise they are models of their own, named by what differs.
    """
    designs: dict[str, list[Run]] = {}
    for run in runs:
        if run.manifest.kind != "anchor":
            designs.setdefault(run.manifest.label, []).append(run)
    variants: dict[int, str] = {}
    for mine in designs.values():
        facts = {id(run): _facts(run) for run in mine}
        every = dict.fromkeys(name for own in facts.values() for name in own)
        differing = [name for name in every if len({str(own.get(name)) for own in facts.values()}) > 1]
        known = [name for name in differing if all(facts[id(run)].get(name) is not None for run in mine)]
        known = _without_twin(known, list(facts.values()))
        for run in mine if known else ():
            variants[id(run)] = ", ".join(_said(name, facts[id(run)][name]) for name in known)
    told = [_with_variant(run, variants[id(run)]) if id(run) in variants else run for run in runs]
    names = list(dict.fromkeys(run.manifest.label for run in told if run.manifest.variant))
    note = f"trained otherwise, so they are not seeds of one design: {', '.join(names)}"
    return told, [note] if variants else []


def _without_twin(names: list[str], facts: Sequence[Mapping[str, object]]) -> list[str]:
    """Return what differs, with one of the name and the weights of the base: the weights tell, the name is shown."""
    if "base" not in names or not all(own.get(WEIGHTS) for own in facts):
        return names
    pairs = {(own["base"], own[WEIGHTS]) for own in facts}
    num_bases, num_weights = (len({pair[side] for pair in pairs}) for side in (0, 1))
    if num_weights == 1:
        return [name for name in names if name != "base"]
    return [name for name in names if name != WEIGHTS] if num_bases == len(pairs) else names


def _facts(run: Run) -> dict[str, object]:
    found: dict[str, object] = dict(run.manifest.training)
    if base := run.manifest.hashes.get("base"):
        found[WEIGHTS] = base
    if isinstance(folder := found.get("base"), str):
        found["base"] = folder.rstrip("/").rpartition("/")[2]
    return found


def _said(name: str, value: object) -> str:
    form = _SHOWN.get(name)
    return form.format(value) if form else f"{name.replace('_', ' ')} {value}"


def _with_variant(run: Run, text: str) -> Run:
    variant = ", ".join(part for part in (run.manifest.variant, text) if part)
    return run.model_copy(update={"manifest": run.manifest.model_copy(update={"variant": variant})})


def by_place(sources: Sequence[tuple[str, Sequence[Run]]]) -> list[list[Run]]:
    """Return the runs of each input, with its name added where inputs have other scores for one design and seed.

    Args:
        sources: the name of each input and its runs.
    """
    seen: dict[tuple[str, int], list[tuple[int, Run]]] = {}
    for place, (_, runs) in enumerate(sources):
        for run in runs:
            if run.manifest.kind != "anchor":
                seen.setdefault((run.manifest.label, run.manifest.seed), []).append((place, run))
    apart = {
        label
        for (label, _), found in seen.items()
        for here, run in found
        for there, two in found
        if here < there and any(run.scores[t] != two.scores[t] for t in run.scores.keys() & two.scores.keys())
    }
    return [
        [_with_variant(run, name) if run.manifest.label in apart else run for run in runs] for name, runs in sources
    ]


def seed_notes(sources: Sequence[tuple[str, Sequence[Run]]]) -> list[str]:
    """Return notes on runs of several inputs that are taken as seeds of one design: how sure that is, and what to do
    if nothing else is there to compare.

    Args:
        sources: the name of each input and its runs.
    """
    inputs: dict[str, dict[str, None]] = {}
    unknown: set[str] = set()
    for name, runs in sources:
        for run in runs:
            if run.manifest.kind != "anchor":
                inputs.setdefault(run.manifest.label, {})[name] = None
                unknown |= {run.manifest.label} if run.manifest.design and not run.manifest.training else set()
    notes = [
        f"{label}: its runs in {', '.join(inputs[label])} are taken as seeds of one design, but how each was trained "
        "is not recorded"
        for label in inputs
        if label in unknown and len(inputs[label]) > 1
    ]
    if len(inputs) == 1 and len(found := next(iter(inputs.values()))) > 1:
        notes.append(
            f"all inputs ({', '.join(found)}) are runs of one model, {next(iter(inputs))}; to compare them with each "
            "other, give each a name: --name A=PATH"
        )
    return notes


def named(runs: Sequence[Run], name: str) -> list[Run]:
    """Return the runs of one input under a name that the user gave: the name itself, or beside each of its designs."""
    labels = {run.manifest.label for run in runs if run.manifest.kind != "anchor"}
    if len(labels) > 1:
        return [run if run.manifest.kind == "anchor" else _with_variant(run, name) for run in runs]
    update = {"name": name, "design": None, "variant": "", "kind": "external"}
    return [
        run
        if run.manifest.kind == "anchor"
        else run.model_copy(update={"manifest": run.manifest.model_copy(update=update)})
        for run in runs
    ]


def identical_notes(runs: Sequence[Run]) -> list[str]:
    """Return a note for each two models with the same scores, of items too, on all tasks that both have."""
    first: dict[str, Run] = {}
    for run in runs:
        if run.manifest.kind != "anchor":
            first.setdefault(run.manifest.label, run)
    models = list(first.items())
    notes = []
    for place, (name, run) in enumerate(models):
        for other, two in models[place + 1 :]:
            common = run.scores.keys() & two.scores.keys()
            if common and all(_outcome(run, task) == _outcome(two, task) for task in common):
                tasks = f"all {len(common)} tasks" if len(common) > 1 else "their task"
                notes.append(f"{name} and {other} have the same scores on {tasks}: are they one model?")
    return notes


def _outcome(run: Run, task: str) -> tuple[object, ...]:
    record = run.scores[task]
    return record.score, sorted(zip(record.ids, record.values, strict=False)), record.assignments
