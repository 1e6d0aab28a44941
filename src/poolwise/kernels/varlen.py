"""torch's varlen attention on CUDA: texts of any length in one call, with any torch version that has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from poolwise.upstream.torch import find_varlen_attention

Ends = Int[Tensor, " B1"]
"""The index of each text's first token, then the number of tokens; int32."""


def takes_varlen(query: Float[Tensor, "B H T E"]) -> bool:
    """Return whether the varlen kernel can be used: queries in half precision on CUDA, kernel installed."""
    return query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and has_varlen()


def attend_varlen(
    query: Float[Tensor, "M H E"],
    key: Float[Tensor, "N G E"],
    value: Float[Tensor, "N G E"],
    ends: tuple[Ends, Ends],
    longest: tuple[int, int],
    scale: float | None,
    *,
    is_causal: bool,
) -> Float[Tensor, "M H E"]:
    """Return the attention of each text's queries to its keys; G, the number of key and value heads, divides H.

    Args:
        ends: text boundaries of the queries and of the keys.
        longest: the largest number of queries and of keys in a text.
    """
    kernel = find_varlen_attention()
    assert kernel is not None
    options: dict[str, Any] = {"scale": scale, "window_size": (-1, 0) if is_causal else (-1, -1)}
    if query.shape[1] != key.shape[1] and "enable_gqa" in _options(kernel):
        options["enable_gqa"] = True  # before torch 2.12 queries share keys without this option
    attended: Tensor = kernel(query, key, value, *ends, *longest, **options)
    return attended


@cache
def _options(kernel: Callable[..., Any]) -> frozenset[str]:
    return frozenset(signature(kernel).parameters)


@cache
def has_varlen() -> bool:
    """Return whether torch has the kernel with a ``scale`` argument: version 2.11 or newer."""
    kernel = find_varlen_attention()
    return kernel is not None and "scale" in _options(kernel)
