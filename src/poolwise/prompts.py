"""Prompts under the names by which people and tools ask for them, and back to the categories of tasks."""

from __future__ import annotations

from collections.abc import Mapping

from poolwise.config import Prompts
from poolwise.records import CATEGORIES, Category

MTEB_TYPES: Mapping[Category, str] = {
    "sts": "STS",
    "retrieval": "Retrieval",
    "reranking": "Reranking",
    "classification": "Classification",
    "clustering": "Clustering",
    "pair_classification": "PairClassification",
}
"""What mteb calls each category."""

_TWO_SIDED: tuple[Category, ...] = ("retrieval", "reranking")
"""Categories that tell queries from documents; in the others every text is a query."""

_DOCUMENT_NAMES = ("document", "passage", "corpus")
"""Names under which sentence-transformers looks for the document prompt, in its order."""


def named_prompts(prompts: Mapping[Category, Prompts]) -> dict[str, str]:
    """Return the prompts of a recipe under the names that a saved model offers them by.

    ``query`` and ``document`` are those of retrieval, or of the first category that has any: ``encode_query`` and
    ``encode_document`` of sentence-transformers take them. ``Retrieval-query``, ``STS`` and so on are mteb's names for
    the same; a two-sided category without prompts has empty ones, so that mteb does not give it another's.
    """
    used = {category: found for category, found in prompts.items() if found.query or found.document}
    if not used:
        return {}
    main = next(used[category] for category in ("retrieval", *CATEGORIES) if category in used)
    named = {"query": main.query, "document": main.document}
    for category in CATEGORIES:
        found = used.get(category, Prompts())
        kind = MTEB_TYPES[category]
        if category in used or category in _TWO_SIDED:
            named |= {f"{kind}-query": found.query, f"{kind}-document": found.document}
        if category in used and category not in _TWO_SIDED:
            named[kind] = found.query  # mteb asks for it without a side
    return named


def category_prompts(named: Mapping[str, str], default: str | None = None) -> dict[Category, Prompts]:
    """Return the prompts that a model reads the texts of each category with, by mteb's rules.

    A category's own name comes first (``Retrieval-query``, ``STS``), then, where queries and documents are told
    apart, ``query`` and ``document`` (or ``passage``, ``corpus``), then the model's default prompt.

    Args:
        named: a model's prompts by name, ours or any other model's.
        default: the name of the prompt that the model takes where none is asked for.
    """
    fallback = named.get(default or "", "")
    found = {category: _of_category(category, named, fallback) for category in CATEGORIES}
    return {category: prompts for category, prompts in found.items() if prompts.query or prompts.document}


def _of_category(category: Category, named: Mapping[str, str], fallback: str) -> Prompts:
    kind = MTEB_TYPES[category]
    # The last of each are the names of poolwise 0.1, whose models keep their prompts.
    query, document = [f"{kind}-query", kind, f"{category}-query"], [f"{kind}-document", f"{category}-document"]
    if category not in _TWO_SIDED:
        return Prompts(query=_first(named, query, fallback), document=_first(named, document, ""))
    query, document = [*query, "query"], [document[0], kind, document[1], *_DOCUMENT_NAMES]
    return Prompts(query=_first(named, query, fallback), document=_first(named, document, fallback))


def _first(named: Mapping[str, str], names: list[str], fallback: str) -> str:
    return next((named[name] for name in names if name in named), fallback)
