"""Seeds named per component: what one part draws never depends on which other parts exist."""

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
    """Draw from the seed of ``component`` inside the block and leave the global generator as it was."""
    state = torch.get_rng_state()
    # Not torch.manual_seed, which would also reseed every GPU.
    torch.default_generator.manual_seed(derive_seed(seed, component))
    try:
        yield
    finally:
        torch.set_rng_state(state)
