"""The settings of huggingface_hub, which it reads from the environment only once; checked against 2.4.0.

Every request looks up ``constants.HF_HUB_OFFLINE``, and ``is_offline_mode()`` returns it. If that changes,
``hub.hub_access`` cannot stop the library from contacting a hub that does not answer: a minute of retries for a base.

Errors of its HTTP library, httpx2, reach its callers as they are. If that changes, ``publish.push`` reports a broken
connection as a bug.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from poolwise.upstream.datasets import loaded_settings


def endpoint() -> str:
    """Return the hub's address: ``https://huggingface.co``, or the value of ``HF_ENDPOINT``."""
    from huggingface_hub import constants

    return constants.ENDPOINT


@contextmanager
def cache_only() -> Iterator[None]:
    """Make the hub's libraries use only their cache inside the block."""
    from huggingface_hub import constants

    # Each library has its own copy of the setting.
    owners: list[ModuleType] = [constants, *loaded_settings()]
    before = [owner.HF_HUB_OFFLINE for owner in owners]
    for owner in owners:
        setattr(owner, "HF_HUB_OFFLINE", True)  # noqa: B010 - mypy forbids assigning a module's constant
    try:
        yield
    finally:
        for owner, value in zip(owners, before, strict=True):
            setattr(owner, "HF_HUB_OFFLINE", value)  # noqa: B010


def is_network_error(error: BaseException) -> bool:
    """Return whether an error is one of the HTTP library's: no connection, a timeout, a broken answer."""
    return any(kind.__module__.partition(".")[0].startswith("httpx") for kind in type(error).__mro__)
