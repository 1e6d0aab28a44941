"""The backends of an index by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poolwise.config import build_section
from poolwise.errors import ConfigError, nearest
from poolwise.search.backends.base import NOTHING, Backend, Batch, Found, Searcher, Settings, Source
from poolwise.search.backends.exact import Exact, search_exact
from poolwise.search.backends.faiss_hnsw import FaissHnsw
from poolwise.search.backends.faiss_ivfpq import FaissIvfPq
from poolwise.search.backends.lancedb import Lancedb
from poolwise.search.backends.pgvector import Pgvector
from poolwise.search.backends.qdrant import Qdrant

__all__ = [
    "BACKENDS",
    "NOTHING",
    "Backend",
    "Batch",
    "Found",
    "Searcher",
    "Settings",
    "Source",
    "build_settings",
    "find_backend",
    "search_exact",
]

BACKENDS: dict[str, Backend] = {
    backend.name: backend for backend in (Exact(), FaissHnsw(), FaissIvfPq(), Lancedb(), Qdrant(), Pgvector())
}


def find_backend(name: str) -> Backend:
    """Return a backend by name. Raises: ConfigError for an unknown one."""
    if name not in BACKENDS:
        raise ConfigError(f"--backend {name}", "wanted a backend", nearest(name, BACKENDS))
    return BACKENDS[name]


def build_settings(backend: Backend, given: Mapping[str, Any]) -> Settings:
    """Return all settings of a backend. Raises: ConfigError for unknown keys and values that are not allowed."""
    return build_section(backend.settings, given, f"settings of {backend.name}")
