"""From paths to one Comparison: whatever tools wrote the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from poolwise.foreign.read_inputs import Inputs, read_inputs
from poolwise.records import load_texts
from poolwise.results import Comparison
from poolwise.stats import compare_runs, with_extremes
from poolwise.stats.designs.contrasts import REASONS
from poolwise.stats.designs.verdict import EQUIVALENCE


@dataclass(frozen=True)
class Compared:
    """A comparison and what it was made of."""

    comparison: Comparison
    inputs: Inputs


def compare_paths(
    paths: Sequence[Path],
    *,
    reference: str | None = None,
    qrels: Sequence[Path] = (),
    include_external: bool = False,
    equivalence: float | Mapping[str, float] | None = None,
) -> Compared:
    """Return the comparison of the models behind some paths; arguments as ``poolwise.compare`` takes them.

    Raises: EvalError where inputs cannot be read or compared; ConfigError for a reference that is not there.
    """
    inputs = read_inputs(paths, qrels, include_external)
    comparisons: Sequence[str] = ["reference", "adaptation_given_design"] if reference else REASONS
    if not reference and inputs.declared:
        # The family of tests is the one that the study declared before it ran.
        reference, comparisons = inputs.declared
    sizes = EQUIVALENCE if equivalence is None else equivalence
    comparison = compare_runs(inputs.runs, reference=reference, comparisons=comparisons, equivalence=sizes)
    texts = [record for path in paths if path.is_dir() for record in load_texts(path)]
    comparison = with_extremes(comparison, inputs.runs, texts)
    return Compared(comparison.model_copy(update={"notes": [*inputs.notes, *comparison.notes]}), inputs)
