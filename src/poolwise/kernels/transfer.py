"""Tensors from the processor's memory to a device, without waiting for what the device still computes."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor


def sent(values: Shaped[Tensor, "*shape"], device: torch.device) -> Shaped[Tensor, "*shape"]:
    """Return values on a device.

    To CUDA they go in the order of its work; values in pageable memory would wait until that is done.
    """
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
