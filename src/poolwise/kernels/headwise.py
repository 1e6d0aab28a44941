"""Matrix products with the weights of all heads, computed one head at a time.

At the paper's size one head has 2 million weights, and 32 heads take a quarter of a GiB. Autocast casts a whole weight,
keeps the copy for the backward, computes the gradient in the narrow dtype and widens it: for four weights, each passes
through memory three more times. Here each head is cast when it is used, and its gradient is widened at once.
Reference implementation: ``plain_headwise``.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def headwise(states: Float[Tensor, "*heads N I"], weights: Float[Tensor, "H I O"]) -> Float[Tensor, "H N O"]:
    """Return each head's states times its weights, in autocast's dtype if autocast is on.

    Args:
        states: one array for all heads, or one per head.
    """
    if torch.compiler.is_exporting():  # a graph for another runtime has no loop over heads and writes to no buffer
        return plain_headwise(states, weights)
    kind = states.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weights.dtype
    with torch.autocast(kind, enabled=False):
        result: Tensor = _Headwise.apply(states, weights, dtype)
        return result


def plain_headwise(states: Float[Tensor, "*heads N I"], weights: Float[Tensor, "H I O"]) -> Float[Tensor, "H N O"]:
    """Return the same as ``headwise``, written plainly."""
    return states @ weights


class _Headwise(torch.autograd.Function):
    """Stores the states in the narrow dtype and the weights unchanged for the backward."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weights: Tensor, dtype: torch.dtype) -> Tensor:
        narrow = states.to(dtype)
        ctx.save_for_backward(narrow, weights)
        ctx.states_dtype = states.dtype
        result = narrow.new_empty(len(weights), narrow.shape[-2], weights.shape[-1])
        for head, weight in enumerate(weights):
            torch.mm(_of_head(narrow, head), weight.to(dtype), out=result[head])
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,), (states, weights) = gradients, ctx.saved_tensors
        wide = torch.promote_types(states.dtype, torch.float32)
        of_states = torch.zeros_like(states, dtype=wide) if ctx.needs_input_grad[0] else None
        of_weights = torch.empty_like(weights) if ctx.needs_input_grad[1] else None
        for head, weight in enumerate(weights):
            if of_states is not None:
                # States shared by all heads get a sum over heads, which must not be computed in half precision.
                _of_head(of_states, head).add_(gradient[head] @ weight.to(states.dtype).T)
            if of_weights is not None:
                _write_outer(_of_head(states, head), gradient[head], out=of_weights[head])
        return None if of_states is None else of_states.to(ctx.states_dtype), of_weights, None


def _of_head(states: Tensor, head: int) -> Tensor:
    return states if states.dim() == 2 else states[head]


def _write_outer(left: Float[Tensor, "N I"], right: Float[Tensor, "N O"], out: Float[Tensor, "I O"]) -> None:
    """Write left^T right into ``out``, in the memory order of ``out``."""
    if out.stride(-1) == 1:
        out.copy_(left.T @ right)
    else:
        out.T.copy_(right.T @ left)
