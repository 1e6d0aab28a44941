"""torch's private parts, read in 2.13.0 (the varlen kernel in 2.11.0 and 2.12.0 too).

- ``torch.cpu._is_amx_tile_supported`` and ``_is_avx512_bf16_supported``: without them processors count as slow in bf16
  (``kernels.precision.has_fast_bf16``), and models encode in fp32.
- ``torch.ops.mkldnn._reorder_linear_weight`` and ``_linear_pointwise``: without them linear layers stay as they are
  (``kernels.packed_linear.pack_linears``).
- ``torch.nn.attention.varlen.varlen_attn``: without it a GPU reads padded batches (``kernels.varlen.has_varlen``).
- ``Module._parameters``, ``_buffers``, ``_modules``, the dictionaries of hooks, ``_compiled_call_impl``: read at once
  instead of by generators, ten times as fast (``models.model_state``). ``Tensor._version`` counts writes.
- ``Module._apply``: through it every cast and move goes. Without it trained poolings would be cast to bf16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn


def has_amx_tiles() -> bool:
    """Return whether torch says that the processor multiplies bf16 in tiles; False where it cannot say."""
    return _ask_processor("_is_amx_tile_supported")


def has_avx512_bf16() -> bool:
    """Return whether torch says that the processor has bf16 products of AVX-512; False where it cannot say."""
    return _ask_processor("_is_avx512_bf16_supported")


def _ask_processor(probe: str) -> bool:
    return bool(getattr(torch.cpu, probe, bool)())


def reorder_weight(weight: Tensor, num_rows: int) -> Tensor:
    """Return a linear layer's bf16 weight (O I) laid out as oneDNN multiplies it with ``num_rows`` rows.

    Raises: AttributeError, RuntimeError or TypeError where torch cannot.
    """
    reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, num_rows)
    return reordered


def reordered_linear(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the linear layer of bf16 states with a weight of ``reorder_weight``. Raises: as ``reorder_weight``."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return result


def find_varlen_attention() -> Callable[..., Any] | None:
    """Return the attention for texts of any length in one call, None where torch has none."""
    try:
        from torch.nn.attention import varlen
    except ImportError:
        return None
    return varlen.varlen_attn


def own_parts(
    module: nn.Module, is_known_hook: Callable[[object], bool]
) -> tuple[list[Tensor | None], list[nn.Module | None]] | None:
    """Return a module's own weights and buffers, and its children; None where calling it does more than its class says:
    it is compiled, has hooks but known ones, or a ``forward`` of its own."""
    own = module.__dict__
    if own["_forward_hooks"] or own["_backward_hooks"] or "forward" in own or "_hf_hook" in own:
        return None
    if own["_forward_pre_hooks"] and not all(map(is_known_hook, own["_forward_pre_hooks"].values())):
        return None
    if module._compiled_call_impl is not None:
        return None
    return [*own["_parameters"].values(), *own["_buffers"].values()], [*own["_modules"].values()]


def num_writes(tensor: Tensor) -> int:
    """Return how often a tensor was written to in place; 0 for tensors made in inference mode, which do not count."""
    return 0 if tensor.is_inference() else tensor._version


class NeverNarrowed:
    """Stands before a module among a class's bases: its weights are moved, but never cast to a narrower dtype."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def keep_width(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype.itemsize >= tensor.dtype.itemsize else tensor.to(moved.device)

        moved: Self = super()._apply(keep_width, recurse)  # type: ignore[misc]
        return moved
