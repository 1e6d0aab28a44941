"""What the ranks of a training exchange: embeddings of the whole batch, and sums of gradients.

Each rank embeds its part of the batch, gathers the embeddings of all parts, and computes the loss of the whole batch,
the same on every rank. The gradient of that loss with respect to the rank's own embeddings is therefore complete, and
the gradient of a weight is the sum over ranks, not the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional

from poolwise.ranks import current_ranks, exchange

BUCKET_SIZE = 2**25
"""Gradients are added in buckets of about this many numbers, so that the copy needs little memory."""


def gather_rows(rows: Float[Tensor, "B D"]) -> Float[Tensor, "N D"]:
    """Return the rows of all ranks, in their order; ranks may have different numbers of rows.

    Law: if all ranks compute the same function of the result, each gets the gradient of its own rows.
    """
    if current_ranks().size == 1:
        return rows
    gathered: Tensor = _Gathered.apply(rows)
    return gathered


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        counts = [count for (count,) in exchange([len(rows)])]
        before = sum(counts[: current_ranks().rank])
        ctx.own = slice(before, before + len(rows))
        padded = functional.pad(rows, (0, 0, 0, max(counts) - len(rows))).contiguous()
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0][ctx.own]


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its sum over the ranks, except those of which each rank has a part: they are sums."""
    if current_ranks().size == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for bucket in _buckets([gradient for gradient in gradients if not isinstance(gradient, DTensor)]):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        distributed.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the gradients in order, those of a bucket of one dtype."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        full = sum(other.numel() for other in bucket) + gradient.numel() > BUCKET_SIZE
        if bucket and (full or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


def sum_over_ranks(value: float, device: torch.device) -> float:
    """Return the sum of a number over the ranks."""
    total = torch.tensor(value, dtype=torch.float64, device=device)
    if current_ranks().size > 1:
        distributed.all_reduce(total)
    return float(total)
