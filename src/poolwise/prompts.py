"""Prompts by category of task, converted to and from the prompt names of sentence-transformers and mteb."""

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
"""Categories that distinguish queries from documents; in the others every text is a query."""

_DOCUMENT_NAMES = ("document", "passage", "corpus")
"""Names under which sentence-transformers looks for the document prompt, in its order."""


def named_prompts(prompts: Mapping[Category, Prompts]) -> dict[str, str]:
    """Return the prompts of a recipe by the names under which a model saves them.

    ``query`` and ``document`` are the prompts of retrieval, or of the first category that has any; ``encode_query``
    and ``encode_document`` of sentence-transformers use them. ``Retrieval-query``, ``STS`` and so on are mteb's names.
    A two-sided category without prompts gets empty ones, so that mteb does not use another category's.
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
            named[kind] = found.query  # mteb uses this name without a side
    return named


def category_prompts(named: Mapping[str, str], default: str | None = None) -> dict[Category, Prompts]:
    """Return the prompts that a model uses for the texts of each category, by mteb's rules.

    The category's own name comes first (``Retrieval-query``, ``STS``). Then, in categories that distinguish queries
    from documents, come ``query`` and ``document`` (or ``passage``, ``corpus``), and last the model's default prompt.

    Args:
        named: a model's prompts by name, ours or any other model's.
        default: the name of the model's default prompt.
    """
    fallback = named.get(default or "", "")
    found = {category: _of_category(category, named, fallback) for category in CATEGORIES}
    return {category: prompts for category, prompts in found.items() if prompts.query or prompts.document}


def _of_category(category: Category, named: Mapping[str, str], fallback: str) -> Prompts:
    kind = MTEB_TYPES[category]
    # The last name of each list is that of poolwise 0.1, so that its saved models keep their prompts.
    query, document = [f"{kind}-query", kind, f"{category}-query"], [f"{kind}-document", f"{category}-document"]
    if category not in _TWO_SIDED:
        return Prompts(query=_first(named, query, fallback), document=_first(named, document, ""))
    query, document = [*query, "query"], [document[0], kind, document[1], *_DOCUMENT_NAMES]
    return Prompts(query=_first(named, query, fallback), document=_first(named, document, fallback))


def _first(named: Mapping[str, str], names: list[str], fallback: str) -> str:
    return next((named[name] for name in names if name in named), fallback)
