"""Compares runs of any tools and returns one Comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from poolwise.errors import EvalError
from poolwise.foreign.benchmark_table import benchmark_table
from poolwise.foreign.read_inputs import Inputs
from poolwise.foreign.source import set_aside_note
from poolwise.records import ItemTexts, load_texts
from poolwise.results import Comparison
from poolwise.stats import compare_runs, with_extremes
from poolwise.stats.designs.collect import Family
from poolwise.stats.designs.contrasts import REASONS
from poolwise.stats.designs.verdict import EQUIVALENCE


def compare_inputs(
    inputs: Inputs,
    paths: Sequence[Path],
    reference: str | None = None,
    equivalence: float | Mapping[str, float] | None = None,
    family: Family | None = None,
    num_resamples: int | None = None,
) -> Comparison:
    """Return the comparison of the models in ``inputs``.

    Args:
        paths: folders that may hold texts of items, for the items on which two models differ most.
        reference: the model that the others are compared with; None takes the one a study declares, if any.
        equivalence: the largest difference that does not matter, for all or by category; None is the default.
        family: which contrasts are corrected together; None takes what a study declares, else all.
        num_resamples: of the tests; None takes as many as the family needs.
    Raises: EvalError where runs cannot be compared; ConfigError for a reference that is not in the inputs.
    """
    of_one_design = ("adaptation_given_design", "training_given_design")
    comparisons: Sequence[str] = ("reference", *of_one_design) if reference else REASONS
    if not reference and inputs.declared:
        # Test the family that the study declared before it ran.
        reference, comparisons = inputs.declared
    sizes = EQUIVALENCE if equivalence is None else equivalence
    comparison = compare_runs(
        inputs.runs,
        reference=reference,
        comparisons=comparisons,
        equivalence=sizes,
        family=family or inputs.family,
        num_resamples=num_resamples,
        share=inputs.share,
    )
    texts, damaged = _texts(paths)
    comparison = with_extremes(comparison, inputs.runs, texts)
    asked = inputs.scope.benchmark
    table = benchmark_table(asked, inputs.runs, inputs.sources) if asked else None
    return comparison.model_copy(update={"notes": [*inputs.notes, *damaged, *comparison.notes], "benchmark": table})


def _texts(paths: Sequence[Path]) -> tuple[list[ItemTexts], list[str]]:
    """Return the texts of items in some folders, and notes on the files that cannot be read."""
    texts: list[ItemTexts] = []
    notes: list[str] = []
    for path in filter(Path.is_dir, paths):
        damaged: list[EvalError] = []
        texts += load_texts(path, damaged.append)
        notes += [set_aside_note(path, error) for error in damaged]
    return texts, notes
