"""What a pooling needs of a text once the base is frozen, asked of the pooling itself and not of a list of names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from poolwise.attentions import Attention
from poolwise.design import POOLINGS, Design
from poolwise.models.pooling import build_pooling
from poolwise.models.pooling.base import TokensRead


@dataclass(frozen=True, order=True)
class Need:
    """One kind of state of a text: its tokens in one reduction (or all of them), of every layer or of the last.

    Args:
        prompt: "skip" where the tokens of the prompt are left out of the reduction.
    """

    tokens: TokensRead
    layers: bool
    prompt: str = "keep"

    @property
    def name(self) -> str:
        """The name of its file; needs that come to the same states have the same."""
        parts = ["layers" if self.layers else "final", self.tokens]
        # EOS is no part of a prompt, and single tokens are masked when they are read.
        return "-".join(parts if self.tokens in ("last", "all") else [*parts, self.prompt])


def need_of(design: Design, dim: int, num_layers: int) -> Need:
    """Return what the pooling of a design reads, on a base with ``num_layers`` layers of width ``dim``."""
    prompt = str(design.option("prompt"))
    if POOLINGS[design.pooling].uses_layers:
        return Need(str(design.option("tokens")), True, prompt)  # type: ignore[arg-type]
    with torch.device("meta"):  # only asked, never computed with
        return Need(build_pooling(design, dim, num_layers).tokens_read, False, prompt)


def needs_of(designs: Iterable[Design], attention: Attention, dim: int, num_layers: int) -> list[Need]:
    """Return what one pass with ``attention`` must keep for all of these designs, each file once."""
    found = {need.name: need for d in designs if d.attention == attention for need in [need_of(d, dim, num_layers)]}
    return [found[name] for name in sorted(found)]
