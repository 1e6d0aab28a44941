"""A check that a device name is valid and that this machine has the device."""

from __future__ import annotations

import re

import torch

from poolwise.errors import ConfigError


def require_device(device: str | None) -> None:
    """Raise ConfigError if the name is not a device or this machine does not have it; None is always valid."""
    if device is None:
        return
    kind, _, number = device.partition(":")
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", device):
        raise ConfigError(f"{device!r} is not a device", "wanted cpu, cuda, cuda:N or mps")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    usable = {"cpu": True, "cuda": int(number or 0) < count, "mps": torch.backends.mps.is_available()}
    if not usable[kind]:
        found = ["cpu", *(f"cuda:{place}" for place in range(count)), *["mps"] * usable["mps"]]
        raise ConfigError(f"device {device!r}: this machine has no such device", f"wanted one of {', '.join(found)}")
