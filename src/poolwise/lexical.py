"""BM25 of bm25s as poolwise uses it: one variant, one tokenisation, for the baseline of tasks and for hybrid search."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

K1, B = 1.5, 0.75
"""Lucene's variant with the constants of bm25s and mteb; without a stemmer, which would need another dependency."""


def tokenize(texts: list[str], return_ids: bool = True) -> Any:
    """Return the words of texts as bm25s takes them, without English stop words; as words if not ``return_ids``."""
    import bm25s

    return bm25s.tokenize(texts, stopwords="en", return_ids=return_ids, show_progress=False)


def index_words(texts: list[str]) -> Any:
    """Return the BM25 of texts."""
    import bm25s

    scorer = bm25s.BM25(method="lucene", k1=K1, b=B)
    scorer.index(tokenize(texts), show_progress=False)
    return scorer


def word_scores(scorer: Any, query: str, num_texts: int) -> Float[np.ndarray, " N"]:
    """Return the score of every text for a query; 0 where they share no word."""
    words = [word for words in tokenize([query], return_ids=False) for word in words]
    known = [word for word in words if word in scorer.vocab_dict]
    return np.asarray(scorer.get_scores(known) if known else np.zeros(num_texts), np.float32)
