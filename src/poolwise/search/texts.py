"""The texts of an index, without which a retriever has nothing to return."""

from __future__ import annotations

from poolwise.errors import ConfigError
from poolwise.search.index import Index


def require_texts(index: Index) -> None:
    """Raise ConfigError where an index stores no texts."""
    if not index.record.keeps_text:
        raise ConfigError(
            f"{index.path} stores no texts", "wanted texts, which a retriever returns", "encode with --keep-text"
        )
