"""huggingface_hub's settings, which it reads once from the environment; read in 2.4.0.

``constants.HF_HUB_OFFLINE`` is looked up anew at every request, and ``is_offline_mode()`` returns it. If that changes,
``hub.hub_access`` cannot stop the library from asking a hub that does not answer: a minute of retries for a base.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from poolwise.upstream.datasets import loaded_settings


def endpoint() -> str:
    """Return the hub's address: ``https://huggingface.co`` or what ``HF_ENDPOINT`` says."""
    from huggingface_hub import constants

    return constants.ENDPOINT


@contextmanager
def cache_only() -> Iterator[None]:
    """Have the hub's libraries look into their cache only, inside the block."""
    from huggingface_hub import constants

    # Each of them keeps its own copy of the setting.
    owners: list[ModuleType] = [constants, *loaded_settings()]
    before = [owner.HF_HUB_OFFLINE for owner in owners]
    for owner in owners:
        setattr(owner, "HF_HUB_OFFLINE", True)  # noqa: B010 - a module's constant, which mypy lets nobody assign
    try:
        yield
    finally:
        for owner, value in zip(owners, before, strict=True):
            setattr(owner, "HF_HUB_OFFLINE", value)  # noqa: B010
