"""The Hugging Face Hub: one quick check that it answers, because its libraries retry for a minute without a network."""

from __future__ import annotations

import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from poolwise.errors import ModelError
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


def local_folder(name: str, what: str) -> Path | None:
    """Return the folder of a name, or None where it is a hub id.

    Args:
        what: what the folder should hold, for the error.
    Raises: ModelError where it is neither.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not is_hub_id(name) or folder.exists():
        raise ModelError(f"{name!r} is not a folder", f"wanted the folder or hub id of {what}")
    return None


def snapshot(
    name: str,
    patterns: Sequence[str],
    ignore: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | None = None,
) -> Path:
    """Return the folder in the hub's cache that holds one commit of a repository; its name is the commit.

    Args:
        name: ``org/name``, or ``org/name@revision`` for a commit, tag or branch.
        patterns: ``fnmatch`` patterns of the files to fetch, where ``*`` also matches ``/``; ``ignore`` excludes files.
        token: of the hub; None takes the one that the user has saved. cache_dir: another folder than the hub's cache.
    Raises: OSError or ValueError where the repository cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    with hub_access():
        found = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=list(patterns),
            ignore_patterns=ignore,
            token=token,
            cache_dir=cache_dir,
        )
    return Path(str(found))


def hub_reason(error: Exception) -> str:
    """Return why a call of the hub failed, in a few words; the library's own messages are many lines long."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    known = {
        GatedRepoError: "access must be granted on its page first",
        RevisionNotFoundError: "there is no such commit, tag or branch",
        RepositoryNotFoundError: "there is no such repository, or it is private and the token may not read it",
        LocalEntryNotFoundError: f"{endpoint()} cannot be reached, and the files are not in the cache",
    }
    if found := next((words for kind, words in known.items() if isinstance(error, kind)), None):
        return found
    code = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if code == 401:
        return "the token is not valid (HF_TOKEN, or hf auth login)"
    if code == 403:
        return "the token may not do this"
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return first if code is None else f"{endpoint()} answers {code}: {first}"


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
