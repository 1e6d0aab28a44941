"""Transfer of tensors from CPU memory to a device, without waiting for the device's running work."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor


def sent(values: Shaped[Tensor, "*shape"], device: torch.device) -> Shaped[Tensor, "*shape"]:
    """Return values on a device.

    To CUDA they are copied asynchronously from pinned memory; a copy from pageable memory would block until the device
    has finished its work.
    """
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
