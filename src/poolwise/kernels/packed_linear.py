"""Linear layers for CPUs whose bf16 weights are stored in the memory layout that oneDNN multiplies.

A plain layer's weight is reordered in every product, which takes a tenth of the time of a feed-forward part of width
576 at 1,024 rows (AMD EPYC, one thread). torch's compiler reorders frozen weights with the same operators. They are
not public, so a layer is replaced only if a trial gives the same as its reference implementation, the plain layer.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from poolwise.kernels.final_layer import FinalLayer
from poolwise.upstream.torch import reorder_weight, reordered_linear

_ROWS = 1024
"""Number of rows that the layout is chosen for; it is also correct for other numbers."""


class PackedLinear(nn.Module):
    """A bf16 linear layer with a reordered weight, which cannot be read back."""

    packed: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        packed = reorder_weight(linear.weight.detach(), _ROWS)
        self.register_buffer("packed", packed, persistent=False)
        self.bias = linear.bias

    def forward(self, states: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        """Return the layer's output in bf16, whatever the dtype of the states."""
        return reordered_linear(states.to(torch.bfloat16), self.packed, self.bias)


@torch.no_grad()
def pack_linears(model: nn.Module) -> int:
    """Replace the bf16 linear layers of a model on a CPU, in place; return how many were replaced.

    Those inside a ``FinalLayer`` are kept, because it multiplies with slices of a weight.
    """
    kept = {id(part) for layer in model.modules() if isinstance(layer, FinalLayer) for part in layer.modules()}
    count = 0
    for parent in list(model.modules()):
        for name, linear in list(parent.named_children()):
            if type(linear) is not nn.Linear or linear.weight.dtype != torch.bfloat16 or id(linear) in kept:
                continue
            packed = _attempt(linear)
            if packed is None:  # if it fails for one, it fails for all
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
