"""Which texts are read together: as many as fill a budget of tokens, those of like length side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_PER_LANE = 1024
_CUDA, _OTHER = 65_536, 8192


def token_budget(device: torch.device) -> int:
    """Return the tokens a forward pass reads at once, by kind of device.

    On a processor a lane reads as many as its cache holds; fewer spend the time between products, more push activations
    out (``benchmarks/encoding.py --budgets`` shows the curve). An accelerator wants many.
    """
    if device.type == "cpu":
        return _PER_LANE
    return _CUDA if device.type == "cuda" else _OTHER


def plan_batches(
    lengths: Sequence[int], budget: int, most_texts: int | None = None, *, is_packed: bool = False
) -> list[list[int]]:
    """Return rows by batch, each of at most ``budget`` tokens, or of one text; the batches with most tokens first.

    Lanes that take the next batch as soon as they are free then end nearly together. Padded to its longest text a batch
    stays within the budget too, so that models which read padding are served.

    Args:
        most_texts: at most so many rows a batch.
        is_packed: padding is not read. Batches are filled with tokens; padded they may have twice the budget.
    Law: every row is in one batch; the plan depends on the arguments alone.
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
