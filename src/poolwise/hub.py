"""The Hugging Face Hub: asked once whether it answers, before its libraries retry for a minute what cannot succeed."""

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
"""Twice what a far and busy line takes; without a network a name is not resolved, which is known at once."""


def is_reachable() -> bool:
    """Return whether the hub's address takes a connection; behind a proxy that is not ours to know, so True."""
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
        patterns: the files to fetch, as ``fnmatch`` reads them, where ``*`` takes folders in; ``ignore`` leaves out.
    Raises: OSError or ValueError where it cannot be had.
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
    """Have the hub's libraries look into their cache only while the hub cannot be reached.

    Left to themselves they ask again, five times a file: 23 s for a base, 70 s for a model (measured without a
    network).
    """
    if is_reachable():
        yield
        return
    with cache_only():
        yield
