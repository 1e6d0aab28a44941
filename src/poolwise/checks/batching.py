"""Checks of batches: whether a text's embedding depends on its neighbours, and on the side of the padding.

Rounding is no fault of the padding: a difference of a model that computes in less than fp32 is measured again in fp32,
and only what is left names a cause.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from poolwise.checks.check import Check, Measured
from poolwise.checks.probe_texts import MIXED
from poolwise.checks.subject import Subject
from poolwise.errors import one_line
from poolwise.models.attention import rounds

TOLERANCE = 1e-4
"""Relative to the mean distance between texts; the worst seen on tiny and nano models is 4e-6 in fp32."""
# Rounding beyond this share of the distance between texts changes which texts are near, so it is worth a warning. On a
# base of 30 layers in bf16 it was 0.13.
_MUCH_ROUNDING = 0.1
_WANTED = f"at most {TOLERANCE:g} in fp32"


@contextmanager
def padded(subject: Subject, side: str) -> Iterator[None]:
    """Pad on a side inside the block."""
    owner: Any = subject.backbone or subject.tokenizer
    before = owner.padding_side
    owner.padding_side = side
    try:
        yield
    finally:
        owner.padding_side = before


def side_of(subject: Subject) -> str:
    """Return the side on which the model pads."""
    owner: Any = subject.backbone or subject.tokenizer
    return str(owner.padding_side)


@dataclass(frozen=True)
class Difference:
    """How far two embeddings of a text are apart, as a share of the distance between texts.

    Args:
        exact: in fp32.
        own: as the model computes; None if that is fp32.
        problem: why it could not be computed in fp32; ``exact`` is then ``own``.
    """

    exact: float
    own: float | None = None
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return f"{self.exact:.1e} of the distance between texts (not repeated in fp32: {self.problem})"
        if self.own is None:
            return f"{self.exact:.1e} of the distance between texts"
        return f"{self.own:.1e} of the distance between texts as it computes, {self.exact:.1e} in fp32"

    @property
    def is_fine(self) -> bool:
        """Whether nothing but rounding is left."""
        return self.exact <= TOLERANCE

    @property
    def is_rounding(self) -> bool:
        """Whether the model's dtype explains the difference, because it disappears in fp32."""
        return self.own is not None and self.own > TOLERANCE and self.is_fine

    @property
    def measured(self) -> dict[str, float | None]:
        """The numbers, by name."""
        return {"in_fp32": None if self.problem else self.exact, "as_it_computes": self.own or self.exact}


def _worst(alone: Float[Tensor, "B D"], batch: Float[Tensor, "B D"]) -> float:
    """Return the largest distance between two embeddings of a text, divided by the mean distance between texts."""
    usable = alone.isfinite().all(dim=1) & batch.isfinite().all(dim=1)
    if int(usable.sum()) < 2:
        return float("nan")
    return float((alone - batch)[usable].norm(dim=1).max() / torch.pdist(alone[usable]).mean())


def alone_and_in_a_batch(subject: Subject, side: str) -> Difference:
    """Return the difference between texts alone and in one batch that is padded on a side."""

    def measure() -> float:
        with padded(subject, side):
            return _worst(subject.embed_alone(MIXED), subject.embed(MIXED))

    own = measure()
    if not rounds(subject.model):
        return Difference(own)
    try:
        with subject.in_fp32():
            return Difference(measure(), own)
    except RuntimeError as error:  # out of memory, or an architecture that casts to the dtype of its weights
        return Difference(own, problem=one_line(error))


def check_batches(subject: Subject) -> list[Check]:
    """Return the checks of batch invariance and of the padding side."""
    if reason := subject.blocked:
        return [Check("batch invariance", "skip", reason), Check("padding side", "skip", reason)]
    side = side_of(subject)
    other = "left" if side == "right" else "right"
    found = {name: alone_and_in_a_batch(subject, name) for name in (side, other)}
    if any(difference.exact != difference.exact for difference in found.values()):  # NaN in a batch
        reason = "not judged: see finite values"
        return [Check("batch invariance", "skip", reason), Check("padding side", "skip", reason)]
    return [_invariance(found[side], found[other], side, other), _sides(subject, found[side], found[other], side)]


def _invariance(own: Difference, swapped: Difference, side: str, other: str) -> Check:
    shown = f"alone and in a batch differ by {own}"
    measured: Measured = {**own.measured, "tolerance": TOLERANCE}
    if own.is_rounding:
        much = own.own is not None and own.own > _MUCH_ROUNDING
        hint = "load the model in fp32 if an embedding must not depend on its batch" if much else ""
        found = f"{shown}: rounding, not padding"
        return Check("batch invariance", "warn" if much else "pass", found, _WANTED, hint, measured)
    if own.is_fine:
        return Check("batch invariance", "pass", shown, _WANTED, "", measured)
    if own.problem:
        hint = "load the model in fp32 and repeat the check"
        return Check("batch invariance", "warn", shown, _WANTED, hint, measured)
    if swapped.is_fine:
        found = f"not judged: with padding on the {side} {shown}, on the {other} they do not; see padding side"
        return Check("batch invariance", "skip", found, _WANTED, "", measured)
    hint = "padding changes the embeddings: check the attention mask, positions and pooling"
    return Check("batch invariance", "fail", shown, _WANTED, hint, measured)


def _sides(subject: Subject, own: Difference, swapped: Difference, side: str) -> Check:
    other = "left" if side == "right" else "right"
    measured: Measured = {"side": side, side: own.exact, other: swapped.exact, "tolerance": TOLERANCE}
    keep = f"keep padding_side={side!r}"
    if not own.is_fine:
        if swapped.is_fine and not own.problem:
            found = f"{side}; only with padding on the {other} a text's embedding does not depend on its batch"
            hint = f"set padding_side={other!r}"
            return Check("padding side", "fail", found, f"{_WANTED}, on the model's side", hint, measured)
        return Check("padding side", "skip", "not judged: see batch invariance", _WANTED, "", measured)
    if swapped.is_fine:
        return Check("padding side", "pass", f"{side}; {other} gives the same embeddings", _WANTED, "", measured)
    found = f"{side}; with padding on the {other} embeddings change by {swapped}"
    if subject.backbone is not None:  # our models promise that the side does not matter
        return Check("padding side", "fail", found, _WANTED, keep, measured)
    return Check("padding side", "pass", found, _WANTED, keep, measured)
