"""The pairs to compare, declared before any score is seen, so that the family of tests is fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from poolwise.attentions import parse_attention
from poolwise.design import Design, parse_design
from poolwise.errors import EvalError, nearest
from poolwise.stats.designs.entrants import Entrant

REASONS = (
    "reference",
    "pooling_given_attention",
    "attention_given_pooling",
    "adaptation_given_design",
    "training_given_design",
)


@dataclass(frozen=True)
class Pair:
    """Two names whose difference ``a - b`` is tested, and all declared comparisons that include it."""

    a: str
    b: str
    reasons: tuple[str, ...]


class Contender(Protocol):
    """What decides which pairs are declared: an entrant of a comparison has it, and a design of a recipe."""

    @property
    def name(self) -> str: ...
    @property
    def design(self) -> Design | None: ...
    @property
    def adaptation(self) -> str: ...
    @property
    def variant(self) -> str: ...


@dataclass(frozen=True)
class PlannedDesign:
    """A design of a recipe that has not run yet."""

    name: str
    adaptation: str = ""
    variant: str = ""

    @property
    def design(self) -> Design:
        return parse_design(self.name)


def declare(entrants: Sequence[Contender], reference: str | None, comparisons: Sequence[str]) -> list[Pair]:
    """Return the declared pairs, each once.

    ``b`` is the reference; else the entrant with the narrower attention (causal); else the one on the plain base; else
    the one listed earlier. Models without a design are compared with the reference, or all with all without one.

    Raises: EvalError for an unknown comparison, or a reference that is not one of the entrants.
    """
    if unknown := [name for name in comparisons if name not in REASONS]:
        raise EvalError(f"unknown comparison {unknown[0]!r}", nearest(unknown[0], REASONS))
    names = [entrant.name for entrant in entrants]
    if reference is not None and reference not in names:
        raise EvalError(f"reference {reference!r} is not one of the models", nearest(reference, names))
    pairs = []
    for later, second in enumerate(entrants):
        for first in entrants[:later]:
            if reasons := _reasons(first, second, reference, comparisons):
                a, b = _oriented(first, second, reference)
                pairs.append(Pair(a.name, b.name, reasons))
    # Designs that differ in pooling and attention have no declared contrast: all pairs, rather than nothing.
    return pairs or (_all_pairs(entrants) if comparisons and reference is None else [])


def _all_pairs(entrants: Sequence[Contender]) -> list[Pair]:
    return [
        Pair(a.name, b.name, ("all_pairs",))
        for later, second in enumerate(entrants)
        for first in entrants[:later]
        for a, b in [_oriented(first, second, None)]
    ]


def _reasons(first: Contender, second: Contender, reference: str | None, comparisons: Sequence[str]) -> tuple[str, ...]:
    one, two = first.design, second.design
    if one is None or two is None:
        # Models without a design of ours have no known pooling and attention: only the reference can be declared.
        if reference is None:
            return ("all_pairs",)
        return ("reference",) if reference in (first.name, second.name) else ()
    is_trained_alike = first.variant == second.variant
    asked = {
        "reference": reference in (first.name, second.name),
        "pooling_given_attention": one.attention == two.attention
        and one.pooling_text != two.pooling_text
        and first.adaptation == second.adaptation
        and is_trained_alike,
        "attention_given_pooling": one.pooling_text == two.pooling_text
        and one.attention != two.attention
        and (is_trained_alike or first.adaptation != second.adaptation),
        "adaptation_given_design": one == two and first.adaptation != second.adaptation,
        "training_given_design": one == two and first.adaptation == second.adaptation and not is_trained_alike,
    }
    return tuple(name for name in REASONS if name in comparisons and asked[name])


def _oriented(first: Contender, second: Contender, reference: str | None) -> tuple[Contender, Contender]:
    if reference in (first.name, second.name):
        return (first, second) if second.name == reference else (second, first)
    one, two = first.design, second.design
    if one and two and one.attention != two.attention:
        is_second_less = parse_attention(two.attention).reach < parse_attention(one.attention).reach
        return (first, second) if is_second_less else (second, first)
    if one and one == two and first.adaptation != second.adaptation:
        return (second, first) if second.adaptation else (first, second)
    return second, first


def against_baselines(entrants: Sequence[Entrant], baselines: Sequence[Entrant]) -> list[Pair]:
    """Return every entrant against every baseline: what is below an untuned base or BM25 is not worth its training."""
    return [Pair(entrant.name, baseline.name, ("baseline",)) for baseline in baselines for entrant in entrants]
