"""Searches an encoded corpus: an index with one interface for exact and approximate search."""

from poolwise.search.build import build_index
from poolwise.search.index import Hit, Index, open_index

__all__ = ["Hit", "Index", "build_index", "open_index"]
