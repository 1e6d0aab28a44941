"""Versions and machine, recorded with the results."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

from poolwise.jobs import usable_cores

PACKAGES = ("poolwise", "torch", "transformers", "sentence-transformers", "peft", "mteb", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that can change results."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def machine() -> dict[str, str]:
    """Return a description of the machine: CPU, cores, memory, accelerator and the fast bf16 path."""
    import psutil
    import torch

    from poolwise.kernels.precision import has_fast_bf16, instructions

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "instructions": instructions(),
        "cores": str(len(usable_cores())),
        "threads": str(torch.get_num_threads()),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "accelerator": device,
        "fast_bf16": str(has_fast_bf16("cuda" if torch.cuda.is_available() else "cpu")).lower(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
