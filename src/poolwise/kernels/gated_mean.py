"""The first half of a head's feed-forward part (GEGLU) and its mean over latents, a few texts at a time.

The hidden layer is by far the largest tensor of a head: 8 D numbers per latent and text. Computed whole, every step of
GEGLU reads and writes all of it, forward and backward. Here the part of a few texts stays in the cache until their mean
is computed. Reference implementation: ``plain_gated_mean``.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from poolwise.kernels.reduction import widen

_CACHED_BYTES, _HELD_BYTES = 2**21, 2**28
"""Bytes of the hidden layer computed at once: one core's L2 cache on a CPU; enough to fill the GPU otherwise."""

_gelu_backward = torch.ops.aten.gelu_backward


def gated_mean(
    states: Float[Tensor, "B K D"], weight: Float[Tensor, "W D"], bias: Float[Tensor, " W"]
) -> Float[Tensor, "B F"]:
    """Return the mean over K of value * gelu(gate), where [value, gate] = states weight^T + bias, in fp32.

    W is 2 F. Products use autocast's dtype if autocast is on.
    """
    if torch.compiler.is_exporting():  # in a graph for another runtime the number of texts is unknown
        return plain_gated_mean(states, weight, bias)
    kind = states.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
    with torch.autocast(kind, enabled=False):
        if torch.is_grad_enabled():
            result: Tensor = _GatedMean.apply(states, weight, bias, dtype)
            return result
        return _forward(states.to(dtype), weight.to(dtype), bias.to(dtype), None)


def plain_gated_mean(
    states: Float[Tensor, "B K D"], weight: Float[Tensor, "W D"], bias: Float[Tensor, " W"]
) -> Float[Tensor, "B F"]:
    """Return the same as ``gated_mean``, written plainly."""
    value, gate = functional.linear(states, weight, bias).chunk(2, dim=-1)
    return widen(value * functional.gelu(gate)).mean(dim=1)


def _parts(states: Float[Tensor, "B K D"], weight: Float[Tensor, "W D"]) -> list[slice]:
    """Return slices of a few texts each, over rows where texts and latents are one dimension."""
    num_texts, num_latents = states.shape[:2]
    held = _CACHED_BYTES if states.device.type == "cpu" else _HELD_BYTES
    size = max(1, held // (num_latents * weight.shape[0] * weight.element_size()))
    starts = range(0, num_texts, size)
    return [slice(start * num_latents, min(start + size, num_texts) * num_latents) for start in starts]


def _forward(
    states: Float[Tensor, "B K D"],
    weight: Float[Tensor, "W D"],
    bias: Float[Tensor, " W"],
    kept: tuple[Float[Tensor, "BK F"], Float[Tensor, "BK F"]] | None,
) -> Float[Tensor, "B F"]:
    rows, means = states.flatten(0, 1), []
    (to_value, to_gate), (add_value, add_gate) = weight.chunk(2), bias.chunk(2)
    for part in _parts(states, weight):
        value = functional.linear(rows[part], to_value, add_value)
        gate = functional.linear(rows[part], to_gate, add_gate)
        if kept is not None:
            kept[0][part], kept[1][part] = value, gate
        product = functional.gelu(gate).mul_(value).unflatten(0, (-1, states.shape[1]))
        means.append(product.mean(dim=1, dtype=torch.promote_types(product.dtype, torch.float32)))
    return torch.cat(means)


class _GatedMean(torch.autograd.Function):
    """Stores value and gate for the backward and recomputes the rest from them."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        narrow, narrow_weight = states.to(dtype), weight.to(dtype)
        shape = (states.shape[0] * states.shape[1], weight.shape[0] // 2)
        value, gate = narrow.new_empty(shape), narrow.new_empty(shape)
        ctx.save_for_backward(narrow, narrow_weight, value, gate)
        ctx.dtypes = states.dtype, weight.dtype, bias.dtype
        return _forward(narrow, narrow_weight, bias.to(dtype), (value, gate))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        states, weight, value, gate = ctx.saved_tensors
        num_latents = states.shape[1]
        shares = (gradients[0] / num_latents).to(value.dtype)[:, None]
        of_value, of_gate = torch.empty_like(value), torch.empty_like(gate)
        for part in _parts(states, weight):
            share = (
                shares[part.start // num_latents : part.stop // num_latents].expand(-1, num_latents, -1).flatten(0, 1)
            )
            torch.mul(functional.gelu(gate[part]), share, out=of_value[part])
            of_gate[part] = _gelu_backward(value[part] * share, gate[part])
        rows, (to_value, to_gate) = states.flatten(0, 1), weight.chunk(2)
        of_states = (of_value @ to_value).addmm_(of_gate, to_gate).view_as(states)
        of_weight = torch.cat([of_value.T @ rows, of_gate.T @ rows])
        ones = value.new_ones(1, len(value))  # a product sums rows faster than a sum does
        of_bias = torch.cat([ones @ of_value, ones @ of_gate], dim=1)[0]
        return *(x.to(dtype) for x, dtype in zip((of_states, of_weight, of_bias), ctx.dtypes, strict=True)), None
