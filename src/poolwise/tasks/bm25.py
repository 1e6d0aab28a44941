"""BM25, the lexical baseline, scored by the same code as every model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from poolwise.records import ItemScores
from poolwise.tasks.bridge import isolated
from poolwise.tasks.ranking import RankingTask
from poolwise.tasks.task import Task

K1, B = 1.5, 0.75
"""Lucene's variant with the constants of bm25s and mteb; without a stemmer, which would need another dependency."""


class BM25Search:
    """BM25 as mteb's search protocol; documents that share no word with the query are not returned."""

    mteb_model_meta = None

    def index(self, corpus: Any, **_: Any) -> None:
        import bm25s

        self.ids = list(corpus["id"])
        rows = zip(corpus["title"], corpus["text"], strict=True)
        tokens = _tokenize([f"{title} {text}".strip() for title, text in rows])
        self.scorer = bm25s.BM25(method="lucene", k1=K1, b=B)
        self.scorer.index(tokens, show_progress=False)

    def search(
        self, queries: Any, *, top_k: int, top_ranked: Mapping[str, Sequence[str]] | None = None, **_: Any
    ) -> dict[str, dict[str, float]]:
        place = {key: row for row, key in enumerate(self.ids)}
        found: dict[str, dict[str, float]] = {}
        for query, text in zip(queries["id"], queries["text"], strict=True):
            scores = self._scores(text)
            if top_ranked is not None:
                # A candidate that shares no word is ranked last, not dropped: every candidate must be ranked.
                found[query] = {key: float(scores[place[key]]) for key in top_ranked[query]}
            else:
                best = np.argsort(-scores, kind="stable")[:top_k]
                found[query] = {self.ids[row]: float(scores[row]) for row in best if scores[row] > 0}
        return found

    def _scores(self, text: str) -> np.ndarray:
        words = [word for words in _tokenize([text], return_ids=False) for word in words]
        known = [word for word in words if word in self.scorer.vocab_dict]
        return self.scorer.get_scores(known) if known else np.zeros(len(self.ids), np.float32)


def evaluate_bm25(task: Task) -> ItemScores | None:
    """Return BM25's scores on a retrieval or reranking task; None where there are no documents to search."""
    if not isinstance(task, RankingTask):
        return None
    with isolated():
        return task.evaluate_search(BM25Search())


def _tokenize(texts: list[str], return_ids: bool = True) -> Any:
    import bm25s

    return bm25s.tokenize(texts, stopwords="en", return_ids=return_ids, show_progress=False)
