"""What a study was made from: the facts at its top, missing jobs, and how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from poolwise.report.amounts import count_text, seconds_text
from poolwise.report.blocks import Block, Code, Definitions, Folded, Paragraph
from poolwise.results import Results, Sequential, StudyResults
from poolwise.wording import listed

_OF_BASE = ("base", "base commit", "base file", "base_dtype")
"""The data fingerprints that are not of training data."""


def job_warnings(results: Results) -> list[str]:
    """Warnings on missing jobs by reason: a failure needs a fix; an unfinished study only needs to be resumed."""
    missing = {"failed": sorted(results.failures), "not run yet": results.not_run}
    return [
        f"{len(jobs)} job{'' if len(jobs) == 1 else 's'} {why}; {'its' if len(jobs) == 1 else 'their'} results are "
        f"missing below: {', '.join(jobs)}."
        for why, jobs in missing.items()
        if jobs
    ]


def entrant_warnings(results: Results) -> list[str]:
    """A caution on the models of others: what they were trained on is not known here."""
    names = [entrant.name for entrant in results.entrants]
    if not names:
        return []
    is_one = len(names) == 1
    return [
        f"{listed(names)}: not trained here, and read with {'its' if is_one else 'their'} own prompts and length; may "
        "have seen the tasks' data in training."
    ]


def study_facts(study: StudyResults) -> list[tuple[str, str]]:
    results, measured = study.results, study.measured
    items = sum(task.num_items for task in results.tasks)
    seeds = sorted({s.seed for s in results.scores if s.name not in results.anchors})
    return [
        ("Base", _base(results)),
        (
            "Training data",
            listed([_file_name(n) for n in results.data_fingerprints if n not in _OF_BASE]) or "–",
        ),
        ("Designs", f"{len(results.designs)}, seeds {', '.join(map(str, seeds)) or '–'}"),
        *([("Looks", looks_text(results.sequential))] if results.sequential else []),
        *([("Entrants", ", ".join(entrant.name for entrant in results.entrants))] if results.entrants else []),
        ("Tasks", f"{len(results.tasks)} with {count_text(items)} items"),
        ("Machine", _machine(measured.machine) or "–"),
        ("Run", " · ".join(t for t in (measured.started, _wall(measured.wall_seconds)) if t) or "–"),
        ("Recipe and inputs", results.recipe_hash),
    ]


def looks_text(found: Sequential) -> str:
    """Return how far a study with ``until_decided`` went, and what its last look could spend."""
    decided = f"{found.num_decided} of {found.num_tested} contrasts decided"
    return (
        f"stopped after {found.num_seeds} of at most {found.most_seeds} seeds with {decided}; the verdicts use "
        f"{found.alpha:.2g} of the 0.05 that all looks share"
    )


def _base(results: Results) -> str:
    """The base as the recipe names it, the GGUF file it was dequantised from, and the dtype of its weights."""
    facts = results.data_fingerprints
    name = ": ".join(text for text in (results.base, facts.get("base file")) if text)
    return f"{name}, held in {held}" if (held := facts.get("base_dtype")) else name


def _machine(machine: Mapping[str, str]) -> str:
    """The parts that determine speed, if recorded; How to repeat lists everything."""
    units = {"processor": "{}", "accelerator": "{}", "cores": "{} cores", "memory_gib": "{} GiB"}
    known = [form.format(machine[k]) for k, form in units.items() if machine.get(k, "none") != "none"]
    return ", ".join(known or machine.values())


def _file_name(source: str) -> str:
    """Return a file name without folders; names of data sets stay unchanged."""
    return source.rsplit("/", 1)[-1] if source.endswith((".jsonl", ".gz", ".parquet")) else source


def _wall(seconds: float | None) -> str:
    return f"{seconds_text(seconds)} wall-clock time" if seconds is not None else ""


def repeat_blocks(study: StudyResults) -> list[Block]:
    results, measured = study.results, study.measured
    recipe = yaml.safe_dump(results.recipe, sort_keys=False, allow_unicode=True).rstrip()
    blocks: list[Block] = []
    if measured.command:
        blocks.append(Code(measured.command, "sh"))
    blocks.append(Paragraph(f"The resolved recipe. Hash of recipe, base, data and tasks: {results.recipe_hash}."))
    blocks.append(Code(recipe, "yaml"))
    for title, values in (
        ("Versions", measured.versions),
        ("Machine", measured.machine),
        ("Data fingerprints", results.data_fingerprints),
        ("Task fingerprints", {task.task: task.fingerprint for task in results.tasks}),
        ("Entrants", {one.name: f"{one.model} ({one.fingerprint}): {one.reading}" for one in results.entrants}),
        ("Hashes of batch schedules and initial parameters", results.hashes),
    ):
        if values:
            blocks.append(Folded(title, [Definitions(list(values.items()))]))
    return blocks
