"""One random seed per component, so that the random draws of one part never depend on other parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, component: str) -> int:
    """Return the seed of ``component`` ("lora", "head", "dropout", "schedule" ...) under ``seed``: 0 <= s < 2**31."""
    digest = hashlib.sha256(f"{seed}/{component}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


@contextmanager
def seeded(seed: int, component: str) -> Iterator[None]:
    """Use the seed of ``component`` inside the block; afterwards restore the global generator."""
    state = torch.get_rng_state()
    # Not torch.manual_seed, which would also reseed every GPU.
    torch.default_generator.manual_seed(derive_seed(seed, component))
    try:
        yield
    finally:
        torch.set_rng_state(state)
