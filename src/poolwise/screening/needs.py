"""The states that each pooling reads of a text on a frozen base, taken from the pooling itself."""

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
    """One kind of state of a text: all its tokens or a reduction of them, from every layer or only the last.

    Args:
        prompt: "skip" if the reduction leaves out the tokens of the prompt.
        skips_bos: the reduction leaves out each text's first token.
    """

    tokens: TokensRead
    layers: bool
    prompt: str = "keep"
    skips_bos: bool = False

    @property
    def name(self) -> str:
        """The name of its file; needs with the same states have the same name."""
        parts = ["layers" if self.layers else "final", self.tokens]
        # EOS is not part of a prompt; if all tokens are stored, the prompt is masked when they are read.
        if self.tokens not in ("last", "all"):
            parts += [self.prompt, *(["nobos"] if self.skips_bos else [])]
        return "-".join(parts)


def need_of(design: Design, dim: int, num_layers: int) -> Need:
    """Return what the pooling of a design reads, on a base with ``num_layers`` layers of width ``dim``."""
    prompt = "skip" if design.skips_prompt else "keep"
    if POOLINGS[design.pooling].uses_layers:
        return Need(str(design.option("tokens")), True, prompt)  # type: ignore[arg-type]
    with torch.device("meta"):  # only inspected, never used to compute
        return Need(build_pooling(design, dim, num_layers).tokens_read, False, prompt, design.skips_bos)


def needs_of(designs: Iterable[Design], attention: Attention, dim: int, num_layers: int) -> list[Need]:
    """Return what one pass with ``attention`` must store for all these designs, each file once."""
    found = {need.name: need for d in designs if d.attention == attention for need in [need_of(d, dim, num_layers)]}
    return [found[name] for name in sorted(found)]
