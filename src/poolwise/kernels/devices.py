"""Checks that this machine has a device, and enough devices for several processes."""

from __future__ import annotations

import re

import torch

from poolwise.errors import ConfigError


def require_processes(count: int, device: str | None, num_gpus: int) -> None:
    """Raise ConfigError if ``count`` processes cannot have a GPU each; on a CPU they share the cores.

    Args:
        device: as in ``require_device``.
        num_gpus: the CUDA devices that the processes may use.
    """
    kind, _, number = (device or _default_kind(num_gpus)).partition(":")
    if count == 1 or kind == "cpu" or (kind == "cuda" and not number and count <= num_gpus):
        return
    if number:
        raise ConfigError(f"{count} processes and device {device!r}", "wanted no number: each gets its own GPU")
    found = num_gpus if kind == "cuda" else 1
    raise ConfigError(
        f"{count} training processes, but {found} GPU{'s' * (found != 1)} ({kind})",
        "wanted a GPU for each process",
        "lower train.processes, or train on the CPU (--device cpu)",
    )


def _default_kind(num_gpus: int) -> str:
    return "cuda" if num_gpus else "mps" if torch.backends.mps.is_available() else "cpu"


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
