"""Finds items that depend on each other because they share a text, where the data declare no groups.

A model that misreads a sentence errs on every pair with that sentence. Tests and intervals therefore keep items that
share texts together; as independent items they gave 62 false findings in 400 comparisons without a difference.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from poolwise.storage.fingerprints import fingerprint

logger = logging.getLogger(__name__)

LARGEST_SHARE = 0.1
"""Largest share of the items in one group. Where rare texts link most items, hardly anything would be left to test."""


def groups_by_text(name: str, *columns: Sequence[str]) -> tuple[str, ...]:
    """Return a group name per item, equal for items that are linked by equal texts; empty if no text is repeated.

    Args:
        name: the task's, for the note on links that are not kept.
        columns: one text per item each: the two sentences of pairs, for example. A sentence links pairs on any side.
    """
    return _linked(name, [set(texts) for texts in zip(*columns, strict=True)], list(columns[0]))


def groups_by_documents(
    name: str,
    ids: Sequence[str],
    queries: Sequence[str],
    qrels: Mapping[str, Mapping[str, int]],
    texts: Mapping[str, tuple[str, str]],
) -> tuple[str, ...]:
    """Return a group name per query: queries with the same text, a common relevant document, or about one article
    depend on each other. Empty if all queries are independent.

    Args:
        texts: title and text of the documents; documents with the same title belong to one article.
    """
    shared = Counter(title for title, _ in texts.values())
    keys, narrow = [], []
    for query, text in zip(ids, queries, strict=True):
        relevant = sorted(key for key, grade in qrels[query].items() if grade > 0)
        titles = {texts[key][0] for key in relevant}
        articles = {f"title {title}" for title in titles if title and shared[title] > 1}
        keys.append({f"query {text}", *(f"document {' '.join(texts[key])}" for key in relevant), *articles})
        narrow.append(articles.pop() if len(articles) == len(titles) == 1 else f"documents {' '.join(relevant)}")
    return _linked(name, keys, narrow)


def _linked(name: str, keys: Sequence[set[str]], narrow: Sequence[str]) -> tuple[str, ...]:
    """Return groups of items that are linked by common keys, or by ``narrow`` alone if one group gets too large."""
    codes = {key: code for code, key in enumerate(sorted(set().union(*keys)))}
    rows = np.repeat(np.arange(len(keys)), [len(own) for own in keys])
    columns = np.array([codes[key] for own in keys for key in sorted(own)], dtype=np.int64)
    # Items and keys are the nodes: links between items themselves would be N x N where all have one text.
    size = len(keys) + len(codes)
    links = coo_array((np.ones(len(rows), dtype=np.int8), (rows, len(keys) + columns)), shape=(size, size)).tocsr()
    parts = connected_components(links, directed=False)[1][: len(keys)]
    if len(np.unique(parts)) == len(keys):
        return ()
    largest = int(np.bincount(parts).max())
    if largest > max(2, LARGEST_SHARE * len(keys)):
        most = max(Counter(narrow).values())
        if most < largest:
            logger.warning(
                "%s: common texts link %d of %d items; only items with the same first text or the same documents are "
                "kept together, so its intervals may be too short",
                name,
                largest,
                len(keys),
            )
        return tuple(map(fingerprint, narrow)) if most > 1 else ()
    first = {part: place for place, part in reversed(list(enumerate(parts.tolist())))}
    return tuple(f"with {first[part]}" for part in parts.tolist())
