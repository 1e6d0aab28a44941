"""The user's cache folder: what poolwise builds once and finds again, and can build again if it is deleted."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the cache folder: $POOLWISE_CACHE, else poolwise below $XDG_CACHE_HOME or ~/.cache."""
    if place := os.environ.get("POOLWISE_CACHE"):
        return Path(place).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "poolwise"
