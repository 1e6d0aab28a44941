"""Private parts of torch, checked against 2.13.0 (the varlen kernel also against 2.11.0 and 2.12.0).

- ``torch.cpu._is_amx_tile_supported`` and ``_is_avx512_bf16_supported``: without them every CPU counts as slow in bf16
  (``kernels.precision.has_fast_bf16``), and models encode in fp32.
- ``torch.ops.mkldnn._reorder_linear_weight`` and ``_linear_pointwise``: without them linear layers are not replaced
  (``kernels.packed_linear.pack_linears``).
- ``torch.nn.attention.varlen.varlen_attn``: without it a GPU reads padded batches (``kernels.varlen.has_varlen``).
- ``Module._parameters``, ``_buffers``, ``_modules``, the dictionaries of hooks, ``_compiled_call_impl``: reading them
  directly is ten times as fast as generators (``models.model_state``). ``Tensor._version`` counts writes.
- ``Module._apply``: does every cast and move. Without it trained poolings would be cast to bf16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn


def has_amx_tiles() -> bool:
    """Return whether the CPU has AMX tiles for bf16, according to torch; False if torch cannot tell."""
    return _ask_processor("_is_amx_tile_supported")


def has_avx512_bf16() -> bool:
    """Return whether the CPU has bf16 products of AVX-512, according to torch; False if torch cannot tell."""
    return _ask_processor("_is_avx512_bf16_supported")


def _ask_processor(probe: str) -> bool:
    return bool(getattr(torch.cpu, probe, bool)())


def reorder_weight(weight: Tensor, num_rows: int) -> Tensor:
    """Return a linear layer's bf16 weight (O I) in oneDNN's memory layout for products with ``num_rows`` rows.

    Raises: AttributeError, RuntimeError or TypeError if torch does not support it.
    """
    reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, num_rows)
    return reordered


def reordered_linear(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a linear layer's output for bf16 states, with a weight from ``reorder_weight``; raises the same errors."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return result


def find_varlen_attention() -> Callable[..., Any] | None:
    """Return torch's attention for texts of any length in one call; None if torch does not have it."""
    try:
        from torch.nn.attention import varlen
    except ImportError:
        return None
    return varlen.varlen_attn


def own_parts(
    module: nn.Module, is_known_hook: Callable[[object], bool]
) -> tuple[list[Tensor | None], list[nn.Module | None]] | None:
    """Return a module's own weights and buffers, and its children.

    None if a call does more than its class defines: it is compiled, has unknown hooks, or a replaced ``forward``.
    """
    own = module.__dict__
    if own["_forward_hooks"] or own["_backward_hooks"] or "forward" in own or "_hf_hook" in own:
        return None
    if own["_forward_pre_hooks"] and not all(map(is_known_hook, own["_forward_pre_hooks"].values())):
        return None
    if module._compiled_call_impl is not None:
        return None
    return [*own["_parameters"].values(), *own["_buffers"].values()], [*own["_modules"].values()]


def num_writes(tensor: Tensor) -> int:
    """Return how often a tensor was written in place; 0 for inference-mode tensors, for which torch does not count."""
    return 0 if tensor.is_inference() else tensor._version


class NeverNarrowed:
    """A mixin, listed before the module class: weights can be moved, but are never cast to a narrower dtype."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def keep_width(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype.itemsize >= tensor.dtype.itemsize else tensor.to(moved.device)

        moved: Self = super()._apply(keep_width, recurse)  # type: ignore[misc]
        return moved
