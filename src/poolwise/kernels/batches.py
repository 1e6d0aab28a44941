"""Batches of texts of similar length, each filled up to a token budget."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_PER_LANE = 1024
_CUDA, _OTHER = 65_536, 8192


def token_budget(device: torch.device) -> int:
    """Return how many tokens one forward pass reads on this kind of device.

    On a CPU each lane reads as many tokens as fit its cache. With fewer, overhead between matrix products dominates;
    with more, activations leave the cache (``benchmarks/encoding.py --budgets`` shows the curve). GPUs need many.
    """
    if device.type == "cpu":
        return _PER_LANE
    return _CUDA if device.type == "cuda" else _OTHER


def plan_batches(
    lengths: Sequence[int], budget: int, most_texts: int | None = None, *, is_packed: bool = False
) -> list[list[int]]:
    """Return the rows of each batch: at most ``budget`` tokens or a single text; batches with most tokens first.

    With this order, lanes that take the next batch when they are free finish at nearly the same time. Each batch stays
    within the budget even when it is padded to its longest text, for models that read padding.

    Args:
        most_texts: maximum number of rows in a batch.
        is_packed: padding is not read. Only real tokens count; padded, a batch may have twice the budget.
    Law: every row is in exactly one batch; the plan depends only on the arguments.
    """
    batches: list[list[int]] = []
    capacity = num_tokens = 0
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if not batches or len(batches[-1]) == capacity or (is_packed and num_tokens + lengths[row] > budget):
            batches.append([])
            capacity = max(1, min(budget * (2 if is_packed else 1) // lengths[row], most_texts or budget))
            num_tokens = 0
        batches[-1].append(row)
        num_tokens += lengths[row]
    return sorted(batches, key=lambda batch: -sum(lengths[row] for row in batch))
