"""Refuses weights with NaN or infinity, by the name of the tensor: one such number may show in few texts only."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from poolwise.errors import NotFiniteError


def require_finite(weights: Iterable[tuple[str, Tensor]], what: str) -> None:
    """Check that every number of some weights is finite, in one pass and without a copy.

    Args:
        weights: with their names; whole numbers, such as 4-bit weights, are not read.
        what: whose they are, for the message.
    Raises: NotFiniteError naming the first tensor with another number.
    """
    for name, weight in weights:
        values = weight.detach()
        if not values.is_floating_point() or not values.numel() or values.is_meta:
            continue
        # NaN passes through both, and infinity is one of them.
        if not all(bool(torch.isfinite(end)) for end in torch.aminmax(values)):
            count = int((~torch.isfinite(values)).sum())
            raise NotFiniteError(
                f"{what}: {count:,} of {values.numel():,} numbers in {name} are NaN or infinite",
                "wanted finite weights",
                "the file is damaged, or its training diverged: take another copy or an earlier checkpoint",
            )
