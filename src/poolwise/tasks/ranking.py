"""Ranking tasks: search in a corpus (retrieval), or among each query's candidates (reranking)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from poolwise.records import ItemScores
from poolwise.tasks import bridge
from poolwise.tasks.subset import random_rows, take, task_rng
from poolwise.tasks.task import Encoder, Task

METRICS = {"ndcg_at_10": "ndcg_cut_10", "map": "map_cut_1000"}
"""Our name of each metric, and trec_eval's name of its value per query."""
DEPTHS = {"ndcg_at_10": (1, 10, 100), "map": (1, 10, 1000)}
"""The number of ranks that mteb keeps. Ten are enough for nDCG@10, except for ties at rank ten (equal documents), which
trec_eval breaks by id. mteb's default of 1,000 makes its bookkeeping ten times slower for the same value."""


@dataclass(frozen=True)
class Document:
    title: str
    text: str

    @property
    def full_text(self) -> str:
        """The text mteb reads: title and text joined by a space."""
        return f"{self.title} {self.text}".strip() if self.title else self.text.strip()


@dataclass(frozen=True, kw_only=True)
class RankingTask(Task):
    """Queries with graded judgements; an item's value is the nDCG@10 or average precision of a query.

    ``candidates`` (reranking) are the documents to rank for each query; without them, the whole corpus is ranked.
    A judged query without an answer scores 0.
    """

    queries: tuple[str, ...]
    corpus: Mapping[str, Document]
    qrels: Mapping[str, Mapping[str, int]]
    candidates: Mapping[str, tuple[str, ...]] | None = None
    ignore_identical_ids: bool = False

    @property
    def settings(self) -> dict[str, object]:
        num_empty = sum(not document.full_text for document in self.corpus.values())
        own: dict[str, object] = {"num_corpus": len(self.corpus)}
        own |= {"num_empty_documents": num_empty} if num_empty else {}
        own |= {"ignore_identical_ids": True} if self.ignore_identical_ids else {}
        return {**super().settings, **own}

    def content(self) -> object:
        documents = {key: [document.title, document.text] for key, document in self.corpus.items()}
        return [self.queries, documents, self.qrels, self.candidates]

    def texts(self) -> list[tuple[str, str]]:
        queries = [(self.prompts.query, text) for text in self.queries]
        return queries + [(self.prompts.document, document.full_text) for document in self.corpus.values()]

    def item_texts(self) -> dict[str, Sequence[str]]:
        best = [max(self.qrels[query], key=self.qrels[query].__getitem__) for query in self.ids]
        return {"query": self.queries, "relevant": [self._document_text(key) for key in best]}

    def _document_text(self, key: str) -> str:
        return self.corpus[key].full_text if key in self.corpus else ""

    def problems(self) -> list[str]:
        return [
            f"{self.name}: query {query!r} has no relevant document"
            for query in self.ids
            if not any(grade > 0 for grade in self.qrels[query].values())
        ]

    def capped(self, max_items: int, seed: int) -> RankingTask:
        """Return at most ``max_items`` queries, and a corpus of at most max(max_items, twice their judged documents).

        Every judged document of a kept query stays, with at least as many other documents as distractors (if the
        corpus has them). All candidates of a kept query stay.
        """
        rng = task_rng(seed, self.name)
        rows = random_rows(len(self.ids), max_items, rng)
        ids = take(self.ids, rows)
        wanted = self._corpus_subset(ids, max_items, rng)
        if len(ids) == len(self.ids) and len(wanted) == len(self.corpus):
            return self
        return replace(
            self,
            ids=ids,
            group=take(self.group, rows),
            queries=take(self.queries, rows),
            corpus={key: document for key, document in self.corpus.items() if key in wanted},
            qrels={query: self.qrels[query] for query in ids},
            candidates=None if self.candidates is None else {query: self.candidates[query] for query in ids},
            subset={"max_items": max_items, "subset_seed": seed, "num_corpus_total": len(self.corpus)},
        )

    def _corpus_subset(self, ids: tuple[str, ...], max_items: int, rng: Any) -> set[str]:
        judged = {document for query in ids for document in self.qrels[query]}
        if self.candidates is not None:
            return judged | {document for query in ids for document in self.candidates[query]}
        others = [key for key in self.corpus if key not in judged]
        num_others = max(max_items, 2 * len(judged)) - len(judged)
        return judged | {others[row] for row in random_rows(len(others), num_others, rng)}

    def evaluate(self, encoder: Encoder) -> ItemScores:
        return self.evaluate_search(bridge.MtebEncoder(encoder, self.prompts))

    def evaluate_search(self, model: object) -> ItemScores:
        """Return the scores of an ``MtebEncoder`` or of any object with mteb's ``index`` and ``search``."""
        from mteb.abstasks import AbsTaskRetrieval

        def keep(task: Any, scores: object, *_: object, **__: object) -> dict[str, float]:
            task.by_query = scores
            return {}

        main_score = "map_at_1000" if self.metric == "map" else self.metric
        task = bridge.build_task(
            AbsTaskRetrieval,
            self.category,
            main_score,
            {bridge.SUBSET: {bridge.SPLIT: self._split()}},
            k_values=DEPTHS[self.metric],
            ignore_identical_ids=self.ignore_identical_ids,
            task_specific_scores=keep,
        )
        bridge.run(task, model)
        values = [task.by_query.get(query, {}).get(METRICS[self.metric], 0.0) for query in self.ids]
        # The same mean as mteb's, but not rounded to five digits, and unanswered queries always count.
        return self.record(sum(values) / len(values), values=values)

    def _split(self) -> dict[str, Any]:
        from datasets import Dataset

        documents = self.corpus.values()
        return {
            "queries": Dataset.from_dict({"id": list(self.ids), "text": list(self.queries)}),
            "corpus": Dataset.from_dict(
                {
                    "id": list(self.corpus),
                    "title": [document.title for document in documents],
                    "text": [document.text for document in documents],
                }
            ),
            "relevant_docs": {query: dict(self.qrels[query]) for query in self.ids},
            "top_ranked": self.candidates and {query: list(keys) for query, keys in self.candidates.items()},
        }


def titles_and_texts(corpus: Mapping[str, Document]) -> dict[str, tuple[str, str]]:
    """Return the title and the text of each document."""
    return {key: (document.title, document.text) for key, document in corpus.items()}
