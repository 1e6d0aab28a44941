"""One reader for each category's folder layout: files to a task, problems noted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poolwise.config import Prompts
from poolwise.records import Category
from poolwise.storage.qrels import iter_judgements
from poolwise.tasks.classification import ClassificationTask
from poolwise.tasks.clustering import ClusteringTask
from poolwise.tasks.pairs import PairTask
from poolwise.tasks.ranking import Document, RankingTask, groups_by_documents
from poolwise.tasks.rows import Row, find_rows, iter_rows
from poolwise.tasks.task import Task, given_groups, groups_by_text


@dataclass(frozen=True)
class Source:
    """A task folder and what is known of it before its rows are read."""

    folder: Path
    name: str
    category: Category
    metric: str
    prompts: Prompts
    samples_per_label: int
    problems: list[str]
    split: str = "test"

    def rows(self, stem: str) -> list[Row]:
        path = find_rows(self.folder, stem)
        if path is None:
            self.problems.append(f"{self.folder}: lacks {stem}.jsonl.gz (or .jsonl), which {self.category} needs")
            return []
        return list(iter_rows(path, self.problems))

    def common(self, ids: tuple[str, ...], group: tuple[str, ...]) -> dict[str, Any]:
        return {
            "name": self.name,
            "category": self.category,
            "metric": self.metric,
            "prompts": self.prompts,
            "ids": ids,
            "num_total": len(ids),
            "group": group,
        }


def read_task(source: Source) -> Task | None:
    """Return the task in a folder, or None where its problems (added to ``source.problems``) allow none."""
    before = len(source.problems)
    task = READERS[source.category](source)
    if len(source.problems) == before:
        source.problems.extend(task.problems())
    return task if len(source.problems) == before else None


def read_pairs(source: Source) -> PairTask:
    is_sts = source.category == "sts"
    rows = source.rows(source.split)
    gold = tuple(row.number("score") if is_sts else _binary(row) for row in rows)
    first = tuple(row.text("sentence1") for row in rows)
    ids, group = _ids_and_groups(rows, first)
    second = tuple(row.text("sentence2") for row in rows)
    return PairTask(first=first, second=second, gold=gold, **source.common(ids, group))


def read_classification(source: Source) -> ClassificationTask:
    train, rows = source.rows("train"), source.rows(source.split)
    texts = tuple(row.text("text") for row in rows)
    ids, group = _ids_and_groups(rows, texts)
    return ClassificationTask(
        items=texts,
        labels=tuple(row.name("label") for row in rows),
        train_texts=tuple(row.text("text") for row in train),
        train_labels=tuple(row.name("label") for row in train),
        samples_per_label=source.samples_per_label,
        **source.common(ids, group),
    )


def read_clustering(source: Source) -> ClusteringTask:
    rows = source.rows(source.split)
    texts = tuple(row.text("text") for row in rows)
    ids, group = _ids_and_groups(rows, texts)
    return ClusteringTask(items=texts, labels=tuple(row.name("label") for row in rows), **source.common(ids, group))


def read_reranking(source: Source) -> RankingTask:
    rows = source.rows(source.split)
    queries = tuple(row.text("query") for row in rows)
    ids, group = _ids_and_groups(rows, queries)
    corpus: dict[str, Document] = {}
    qrels: dict[str, dict[str, int]] = {}
    for query, row in zip(ids, rows, strict=True):
        qrels[query] = {}
        # trec_eval breaks ties by descending id: with these, equal similarities count against the run.
        for key, prefix, grade in (("positive", "a", 1), ("negative", "b", 0)):
            for place, text in enumerate(row.texts(key)):
                document = f"{prefix}{query}.{place}"
                corpus[document], qrels[query][document] = Document("", text), grade
    candidates = {query: tuple(judged) for query, judged in qrels.items()}
    return RankingTask(queries=queries, corpus=corpus, qrels=qrels, candidates=candidates, **source.common(ids, group))


def read_retrieval(source: Source) -> RankingTask:
    corpus = {
        key: Document(row.text("title", may_be_empty=True) if "title" in row.fields else "", text)
        for key, row, text in _by_id(source.rows("corpus"), may_be_empty=True)
    }
    rows = {key: (row, text) for key, row, text in _by_id(source.rows("queries"), may_be_empty=False)}
    before = len(source.problems)
    qrels, is_split = _read_qrels(source, corpus, set(rows))
    if is_split:
        rows = {key: rows[key] for key in rows if key in qrels}
    if len(source.problems) == before:
        unjudged = (f"{source.folder}: query {key!r} has no relevant document" for key in rows if key not in qrels)
        source.problems.extend(unjudged)
    judged = {key: qrels.get(key, {}) for key in rows}
    ids = tuple(rows)
    group = given_groups([row.group() for row, _ in rows.values()], ids)
    if len(source.problems) == before and not group:
        group = groups_by_documents(ids, judged, corpus)
    queries = tuple(text for _, text in rows.values())
    return RankingTask(queries=queries, corpus=corpus, qrels=judged, **source.common(ids, group))


READERS: dict[Category, Callable[[Source], Task]] = {
    "sts": read_pairs,
    "pair_classification": read_pairs,
    "classification": read_classification,
    "clustering": read_clustering,
    "reranking": read_reranking,
    "retrieval": read_retrieval,
}


def _ids_and_groups(rows: list[Row], texts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    ids = tuple(str(place) for place in range(len(rows)))
    return ids, given_groups([row.group() for row in rows], ids) or groups_by_text(texts)


def _binary(row: Row) -> float:
    value = row.number("label")
    if value not in (0, 1):
        row.problem(f"'label' is {value:g}, wanted 0 or 1")
    return value


def _by_id(rows: list[Row], *, may_be_empty: bool) -> list[tuple[str, Row, str]]:
    seen: dict[str, int] = {}
    for row in rows:
        key = row.name("_id")
        if key in seen:
            row.problem(f"id {key!r} stands in line {seen[key]} already")
        seen[key] = row.line
    return [(str(row.fields.get("_id")), row, row.text("text", may_be_empty=may_be_empty)) for row in rows]


def _read_qrels(
    source: Source, corpus: dict[str, Document], queries: set[str]
) -> tuple[dict[str, dict[str, int]], bool]:
    """Return grades by query and document, and whether the file judges one split of the queries only.

    BEIR's own ``qrels/test.tsv`` does: its queries file holds those of the other splits too.
    """
    split_path, path = source.folder / "qrels" / f"{source.split}.tsv", source.folder / "qrels.tsv"
    is_split = source.split != "test" or (split_path.is_file() and not path.is_file())
    path = split_path if is_split else path
    qrels: dict[str, dict[str, int]] = {}
    if not path.is_file():
        source.problems.append(f"{source.folder}: lacks {path.relative_to(source.folder)}, which retrieval needs")
        return qrels, is_split
    for judged in iter_judgements(path, source.problems):
        if judged.query not in queries:
            source.problems.append(f"{path}:{judged.line}: query {judged.query!r} is not among the queries")
        if judged.document not in corpus:
            source.problems.append(f"{path}:{judged.line}: document {judged.document!r} is not in the corpus")
        qrels.setdefault(judged.query, {})[judged.document] = judged.grade
    if not qrels:
        source.problems.append(f"{path}: holds no judgements")
    return qrels, is_split
