"""The Hugging Face Hub: one quick check that it answers, because its libraries retry for a minute without a network."""

from __future__ import annotations

import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from poolwise.upstream.huggingface_hub import cache_only, endpoint

CONNECT_SECONDS = 5.0
"""Twice what a slow connection takes. Without a network, resolving the name fails at once."""


def is_reachable() -> bool:
    """Return whether the hub's address accepts a connection; True behind a proxy, where this cannot be checked."""
    from huggingface_hub import is_offline_mode

    if is_offline_mode():
        return False
    if urllib.request.getproxies().keys() & {"http", "https", "all"}:
        return True
    address = urllib.parse.urlsplit(endpoint())
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False


_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def is_hub_id(name: str) -> bool:
    """Return whether a name can be a repository of the hub: ``org/name``, or ``org/name@revision``."""
    return _HUB_ID.fullmatch(name) is not None and not name.startswith(".")


def snapshot(name: str, patterns: Sequence[str], ignore: str | None = None) -> Path:
    """Return the folder in the hub's cache that holds one commit of a repository; its name is the commit.

    Args:
        name: ``org/name``, or ``org/name@revision`` for a commit, tag or branch.
        patterns: ``fnmatch`` patterns of the files to fetch, where ``*`` also matches ``/``; ``ignore`` excludes files.
    Raises: OSError or ValueError where the repository cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    with hub_access():
        found = snapshot_download(
            repository, revision=revision or None, allow_patterns=list(patterns), ignore_patterns=ignore
        )
    return Path(str(found))


@contextmanager
def hub_access() -> Iterator[None]:
    """Make the hub's libraries use only their cache while the hub cannot be reached.

    By default they retry five times per file: 23 s for a base, 70 s for a model (measured without a network).
    """
    if is_reachable():
        yield
        return
    with cache_only():
        yield
