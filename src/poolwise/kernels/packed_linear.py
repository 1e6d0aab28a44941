"""Linear layers whose bf16 weights lie in memory as oneDNN multiplies them, on a processor.

A plain layer's weight is laid out anew in every product: a tenth of the time of a feed-forward part of width 576 at
1,024 rows (AMD EPYC, one thread). torch's compiler does the same to weights that it freezes, by the same operators.
They are not public, so a layer is exchanged only if it gives on a trial what the plain one gives: its slow twin.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from poolwise.kernels.final_layer import FinalLayer
from poolwise.upstream.torch import reorder_weight, reordered_linear

_ROWS = 1024
"""Rows for which the layout is chosen; with others the product is the same."""


class PackedLinear(nn.Module):
    """A linear layer in bf16; its weight cannot be read back."""

    packed: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        packed = reorder_weight(linear.weight.detach(), _ROWS)
        self.register_buffer("packed", packed, persistent=False)
        self.bias = linear.bias

    def forward(self, states: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        """Return the product in bf16, whatever the dtype of the states."""
        return reordered_linear(states.to(torch.bfloat16), self.packed, self.bias)


@torch.no_grad()
def pack_linears(model: nn.Module) -> int:
    """Exchange, in place, the bf16 linear layers of a model on a processor; return how many were exchanged.

    Those of a layer that stops at the last tokens stay: it multiplies with parts of a weight.
    """
    kept = {id(part) for layer in model.modules() if isinstance(layer, FinalLayer) for part in layer.modules()}
    count = 0
    for parent in list(model.modules()):
        for name, linear in list(parent.named_children()):
            if type(linear) is not nn.Linear or linear.weight.dtype != torch.bfloat16 or id(linear) in kept:
                continue
            packed = _attempt(linear)
            if packed is None:  # what one of them lacks, all lack
                return count
            setattr(parent, name, packed)
            count += 1
    return count


def _attempt(linear: nn.Linear) -> PackedLinear | None:
    states = torch.randn(3, linear.in_features, generator=torch.Generator().manual_seed(0)).bfloat16()
    try:
        packed = PackedLinear(linear)
        found = packed(states)
    except (AttributeError, RuntimeError, TypeError):
        return None
    wanted = linear(states)
    rounding = torch.finfo(torch.bfloat16).eps * wanted.abs().max()
    return packed if bool((found - wanted).abs().max() <= rounding) else None
