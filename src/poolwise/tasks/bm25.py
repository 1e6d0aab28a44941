"""BM25, the lexical baseline, scored by the same code as every model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from poolwise.lexical import index_words, word_scores
from poolwise.records import ItemScores
from poolwise.tasks.bridge import isolated
from poolwise.tasks.ranking import RankingTask
from poolwise.tasks.task import Task


class BM25Search:
    """BM25 as mteb's search protocol; documents that share no word with the query are not returned."""

    mteb_model_meta = None

    def index(self, corpus: Any, **_: Any) -> None:
        self.ids = list(corpus["id"])
        rows = zip(corpus["title"], corpus["text"], strict=True)
        self.scorer = index_words([f"{title} {text}".strip() for title, text in rows])

    def search(
        self, queries: Any, *, top_k: int, top_ranked: Mapping[str, Sequence[str]] | None = None, **_: Any
    ) -> dict[str, dict[str, float]]:
        place = {key: row for row, key in enumerate(self.ids)}
        found: dict[str, dict[str, float]] = {}
        for query, text in zip(queries["id"], queries["text"], strict=True):
            scores = word_scores(self.scorer, text, len(self.ids))
            if top_ranked is not None:
                # A candidate that shares no word is ranked last, not dropped: every candidate must be ranked.
                found[query] = {key: float(scores[place[key]]) for key in top_ranked[query]}
            else:
                best = np.argsort(-scores, kind="stable")[:top_k]
                found[query] = {self.ids[row]: float(scores[row]) for row in best if scores[row] > 0}
        return found


def evaluate_bm25(task: Task) -> ItemScores | None:
    """Return BM25's scores on a retrieval or reranking task; None where there are no documents to search."""
    if not isinstance(task, RankingTask):
        return None
    with isolated():
        return task.evaluate_search(BM25Search())
