"""Attention within texts of equal length, with the fastest implementation for the device.

torch's CPU kernel is slow in two ways. First, it skips masked keys only in blocks of 512, so causal attention on
shorter texts takes as long as bidirectional; blocks of 64 queries that read no later keys take 0.76 of its time at 300
tokens (fp32 and bf16). Second, it multiplies tile by tile, at 40 to 60 GFLOP/s in bf16 without AMX; one product over
all heads and texts reaches 200, so products and a softmax take 0.7 of the time of blocks at 40 to 1,024 tokens.
Measured on one thread of an AMD EPYC, 4 to 16 heads of 64. Reference implementation of both: torch's kernel.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from poolwise.kernels.precision import has_tiles

_BLOCK = 64
_LEAST, _MOST = 128, 1024
"""Lengths for which our blocks are faster: below, one call per block costs more; above, the kernel's own suffice."""


def attend_text(
    query: Float[Tensor, "B H T E"],
    key: Float[Tensor, "B G T E"],
    value: Float[Tensor, "B G T E"],
    scale: float | None,
    *,
    is_causal: bool,
) -> Float[Tensor, "B H T E"]:
    """Return the self-attention of each of B texts; G, the number of key and value heads, divides H."""
    if products_pay(query):
        return attend_by_products(query, key, value, scale, is_causal=is_causal)
    if is_causal and blocks_pay(query):
        return attend_in_blocks(query, key, value, scale)
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        is_causal=is_causal and query.shape[2] > 1,
        scale=scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )


def narrowed(states: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return states in autocast's dtype if autocast is on, as autocast itself casts them for the kernel."""
    kind = states.device.type
    return states.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else states


def products_pay(query: Float[Tensor, "B H T E"]) -> bool:
    """Return whether ``attend_by_products`` is faster: in bf16 on a CPU without AMX (with AMX it was not measured)."""
    return _without_gradient(query) and query.dtype == torch.bfloat16 and not has_tiles()


def blocks_pay(query: Float[Tensor, "B H T E"]) -> bool:
    """Return whether ``attend_in_blocks`` is faster than one call of the kernel."""
    return _without_gradient(query) and _LEAST <= query.shape[2] <= _MOST


def _without_gradient(query: Tensor) -> bool:
    return query.device.type == "cpu" and not (torch.is_grad_enabled() and query.requires_grad)


def attend_by_products(
    query: Float[Tensor, "B H T E"],
    key: Float[Tensor, "B G T E"],
    value: Float[Tensor, "B G T E"],
    scale: float | None,
    *,
    is_causal: bool,
    late: Float[Tensor, "B P"] | None = None,
) -> Float[Tensor, "B H T E"]:
    """Return the attention, computed as two products and a softmax, by blocks of queries whose scores fit the cache.

    Unlike the kernel, this rounds scores to the dtype. The mean key of the text is therefore subtracted first: softmax
    ignores what all keys share, but if that is large (in bases with biases, such as Qwen 2) it would dominate rounding.

    Args:
        late: added to the scores of the last P keys of each text; minus infinity masks padding.
    Law: adding one vector to all keys of a text changes nothing.
    """
    (num_texts, num_heads, length, width), num_keys = query.shape, key.shape[1]
    scale = width**-0.5 if scale is None else scale
    centre = key.mean(dim=2, keepdim=True, dtype=torch.promote_types(key.dtype, torch.float32))
    keys = ((key - centre) * scale).to(key.dtype).flatten(0, 1).transpose(1, 2)
    values = value.flatten(0, 1)
    # Queries that share keys are rows of one product; those of one token are adjacent, as in memory.
    queries = query.unflatten(1, (num_keys, -1)).permute(0, 1, 3, 2, 4)
    attended = query.new_empty(num_texts, length, num_keys, num_heads // num_keys * width)
    hidden = _hidden(query.dtype)[:, None]
    for start in range(0, length, _BLOCK):
        end = min(start + _BLOCK, length)
        seen = end if is_causal else length
        block = queries[:, :, start:end].flatten(2, 3).flatten(0, 1)
        scores = torch.bmm(block, keys[:, :, :seen])
        if is_causal:
            own = scores.unflatten(1, (end - start, -1))[..., start:]
            own += hidden[: end - start, :, : end - start]
        if late is not None:
            scores.unflatten(0, (num_texts, -1))[..., length - late.shape[1] :] += late[:, None, None]
        found = torch.bmm(scores.softmax(dim=-1), values[:, :seen])
        attended[:, start:end] = found.view(num_texts, num_keys, end - start, -1).transpose(1, 2)
    return attended.view(num_texts, length, num_heads, width).transpose(1, 2)


def attend_in_blocks(
    query: Float[Tensor, "B H T E"], key: Float[Tensor, "B G T E"], value: Float[Tensor, "B G T E"], scale: float | None
) -> Float[Tensor, "B H T E"]:
    """Return causal attention, with one kernel call for each block of queries and the keys it sees."""
    length, strip = query.shape[2], _strip(query.dtype)
    outputs = []
    for start in range(0, length, _BLOCK):
        end = min(start + _BLOCK, length)
        outputs.append(
            functional.scaled_dot_product_attention(
                query[:, :, start:end],
                key[:, :, :end],
                value[:, :, :end],
                attn_mask=strip[: end - start, _MOST - start : _MOST + end - start],
                scale=scale,
                enable_gqa=key.shape[1] != query.shape[1],
            )
        )
    return torch.cat(outputs, dim=2)


@cache
def _hidden(dtype: torch.dtype) -> Float[Tensor, "Q Q"]:
    """Return the causal mask of a block of queries and its own keys, to be added to scores."""
    return torch.full((_BLOCK, _BLOCK), -torch.inf, dtype=dtype).triu(1)


@cache
def _strip(dtype: torch.dtype) -> Float[Tensor, "Q K"]:
    """Return the mask of a block with the maximum number of earlier keys; each block uses the end of it."""
    hidden = _hidden(dtype)
    return torch.cat([hidden.new_zeros(_BLOCK, _MOST), hidden], dim=1)
