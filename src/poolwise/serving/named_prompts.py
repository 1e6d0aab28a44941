"""Which of a model's prompts a request means: by its own name, or by Cohere's input types."""

from __future__ import annotations

from collections.abc import Mapping

from poolwise.errors import ConfigError, nearest
from poolwise.prompts import category_prompts

INPUT_TYPES = ("search_query", "search_document", "classification", "clustering")
"""Cohere's input types of texts."""
SIDES = {"query": "search_query", "document": "search_document"}
"""What sentence-transformers calls the first two, in ``encode_query`` and ``encode_document``."""


def find_prompt(prompts: Mapping[str, str], default: str | None, name: str | None) -> str:
    """Return the prompt that a request means; an empty text is no prompt.

    Args:
        prompts: the model's prompts by name.
        default: the name of its default prompt.
        name: a name of ``prompts``, an input type, ``query`` or ``document``; None is the default prompt.
    Raises: ConfigError for another name.
    """
    if name is None:
        return prompts.get(default or "", "")
    if name in prompts:
        return prompts[name]
    kind = SIDES.get(name, name)
    if kind not in INPUT_TYPES:
        known = [*prompts, *INPUT_TYPES]
        raise ConfigError(f"input_type is {name[:60]!r}", "wanted a prompt of the model", nearest(name[:60], known))
    found = category_prompts(prompts, default)
    if kind in ("search_query", "search_document"):
        pair = found.get("retrieval")
        return "" if pair is None else pair.query if kind == "search_query" else pair.document
    category = found.get("classification" if kind == "classification" else "clustering")
    return "" if category is None else category.query
