"""Reads the task folders of each category: files become a task, and problems are collected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poolwise.config import Prompts
from poolwise.errors import nearest
from poolwise.records import Category
from poolwise.storage.qrels import iter_judgements
from poolwise.storage.row_problems import RowProblems
from poolwise.tasks.classification import ClassificationTask
from poolwise.tasks.clustering import ClusteringTask
from poolwise.tasks.dependence import groups_by_documents, groups_by_text
from poolwise.tasks.pairs import PairTask
from poolwise.tasks.ranking import Document, RankingTask, titles_and_texts
from poolwise.tasks.rows import FORMS, Row, RowFile, find_files, read_rows, shown_entries
from poolwise.tasks.task import Task, given_groups

FIELDS: dict[Category, dict[str, tuple[str, ...]]] = {
    "sts": {"rows": ("sentence1", "sentence2", "score")},
    "pair_classification": {"rows": ("sentence1", "sentence2", "label")},
    "classification": {"rows": ("text", "label")},
    "clustering": {"rows": ("text", "label")},
    "reranking": {"rows": ("query", "positive", "negative")},
    "retrieval": {"corpus": ("_id", "text"), "queries": ("_id", "text")},
}
"""Required fields of a row: by file in categories with different kinds of files, otherwise for all files."""
OPTIONAL = {"corpus": ("title",)}
"""Optional fields of a row by file; for other files, ``group``."""
LISTS = ("positive", "negative")
"""Fields that hold several texts."""


@dataclass(frozen=True)
class Source:
    """A task folder, and what is known about it before its rows are read."""

    folder: Path
    name: str
    category: Category
    metric: str
    prompts: Prompts
    samples_per_label: int
    problems: list[str]
    columns: Mapping[str, Any] = field(default_factory=dict)
    split: str = "test"
    files: list[RowProblems] = field(default_factory=list)

    def rows(self, stem: str) -> list[Row]:
        """Return the rows of ``<stem>.jsonl``, ``.csv`` or ``.tsv``; their problems are reported later, together."""
        paths = find_files(self.folder, stem)
        if not paths:
            wanted = f"{FORMS.format(stem=stem)}), which {self.category} needs"
            self.problems.append(
                f"{self.folder}: {stem} rows are missing ({wanted}; found {shown_entries(self.folder)}"
            )
            return []
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            self.problems.append(f"{self.folder}: holds {names}; keep one of them")
            return []
        self.files.append(RowProblems(str(paths[0])))
        fields = FIELDS[self.category].get(stem) or FIELDS[self.category]["rows"]
        columns = file_columns(self.columns, stem, (*fields, *OPTIONAL.get(stem, ("group",))))
        return read_rows(RowFile(paths[0], columns, self.files[-1]), fields, LISTS)

    @property
    def num_problems(self) -> int:
        """The number of problems so far, including problems of rows that are not reported yet."""
        return len(self.problems) + sum(map(len, self.files))

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


def file_columns(columns: Mapping[str, Any], stem: str, fields: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the column names of one file: those in ``task.yaml`` for all files, or for this file."""
    own = columns.get(stem)
    named = {**columns, **(own if isinstance(own, dict) else {})}
    return {key: [name] if isinstance(name, str) else name for key, name in named.items() if key in fields}


def unknown_columns(category: Category, columns: Mapping[str, Any]) -> list[str]:
    """Return the problems of a task's ``columns``: fields its category does not have, or a list for a single column."""
    by_file = {stem: (*fields, *OPTIONAL.get(stem, ("group",))) for stem, fields in FIELDS[category].items()}
    everywhere = [name for fields in by_file.values() for name in fields]
    told = []
    for key, value in columns.items():
        is_of_file = isinstance(value, dict)
        known = by_file.get(key, ()) if is_of_file else everywhere
        if is_of_file and (key not in by_file or key == "rows"):
            told.append(f"columns.{key} names a file, but {category} has no file {key}")
            continue
        for name, named in value.items() if is_of_file else [(key, value)]:
            if name not in known:
                told.append(f"columns names a field {name!r}, but {category} has no such field; {nearest(name, known)}")
            elif isinstance(named, list) and name not in LISTS:
                told.append(f"columns.{name} is {named!r}, wanted a column name")
    return told


def read_task(source: Source) -> Task | None:
    """Return the task in a folder, or None if it has problems, which are added to ``source.problems``."""
    before = len(source.problems)
    task = READERS[source.category](source)
    for file in source.files:
        source.problems.extend(file.lines())
    if len(source.problems) == before:
        source.problems.extend(task.problems())
    return task if len(source.problems) == before else None


def read_pairs(source: Source) -> PairTask:
    is_sts = source.category == "sts"
    rows = source.rows(source.split)
    gold = tuple(row.number("score") if is_sts else _binary(row) for row in rows)
    first = tuple(row.text("sentence1") for row in rows)
    second = tuple(row.text("sentence2") for row in rows)
    ids, group = _ids_and_groups(source, rows, first, second)
    return PairTask(first=first, second=second, gold=gold, **source.common(ids, group))


def read_classification(source: Source) -> ClassificationTask:
    train, rows = source.rows("train"), source.rows(source.split)
    texts = tuple(row.text("text") for row in rows)
    ids, group = _ids_and_groups(source, rows, texts)
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
    ids, group = _ids_and_groups(source, rows, texts)
    return ClusteringTask(items=texts, labels=tuple(row.name("label") for row in rows), **source.common(ids, group))


def read_reranking(source: Source) -> RankingTask:
    rows = source.rows(source.split)
    queries = tuple(row.text("query") for row in rows)
    ids, group = _ids_and_groups(source, rows, queries)
    corpus: dict[str, Document] = {}
    qrels: dict[str, dict[str, int]] = {}
    for query, row in zip(ids, rows, strict=True):
        qrels[query] = {}
        # trec_eval breaks ties by descending id; with these ids, ties count against the run.
        for key, prefix, grade in (("positive", "a", 1), ("negative", "b", 0)):
            for place, text in enumerate(row.texts(key)):
                document = f"{prefix}{query}.{place}"
                corpus[document], qrels[query][document] = Document("", text), grade
    candidates = {query: tuple(judged) for query, judged in qrels.items()}
    return RankingTask(queries=queries, corpus=corpus, qrels=qrels, candidates=candidates, **source.common(ids, group))


def read_retrieval(source: Source) -> RankingTask:
    corpus = {
        key: Document(row.text("title", may_be_empty=True) if row.has("title") else "", text)
        for key, row, text in _by_id(source.rows("corpus"), may_be_empty=True)
    }
    rows = {key: (row, text) for key, row, text in _by_id(source.rows("queries"), may_be_empty=False)}
    before = source.num_problems
    qrels, is_split = _read_qrels(source, corpus, set(rows))
    if is_split:
        rows = {key: rows[key] for key in rows if key in qrels}
    if source.num_problems == before:
        unjudged = (f"{source.folder}: query {key!r} has no relevant document" for key in rows if key not in qrels)
        source.problems.extend(unjudged)
    judged = {key: qrels.get(key, {}) for key in rows}
    ids = tuple(rows)
    group = given_groups([row.group() for row, _ in rows.values()], ids)
    queries = tuple(text for _, text in rows.values())
    if corpus and source.num_problems == before and not group:
        group = groups_by_documents(source.name, ids, queries, judged, titles_and_texts(corpus))
    return RankingTask(queries=queries, corpus=corpus, qrels=judged, **source.common(ids, group))


READERS: dict[Category, Callable[[Source], Task]] = {
    "sts": read_pairs,
    "pair_classification": read_pairs,
    "classification": read_classification,
    "clustering": read_clustering,
    "reranking": read_reranking,
    "retrieval": read_retrieval,
}


def _ids_and_groups(
    source: Source, rows: list[Row], *texts: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    ids = tuple(str(place) for place in range(len(rows)))
    return ids, given_groups([row.group() for row in rows], ids) or groups_by_text(source.name, *texts)


def _binary(row: Row) -> float:
    value = row.number("label")
    if value not in (0, 1):
        row.problem(f"'label' is {value:g}, wanted 0 or 1")
    return value


def _by_id(rows: list[Row], *, may_be_empty: bool) -> list[tuple[str, Row, str]]:
    seen: dict[str, int] = {}
    found = []
    for row in rows:
        key = row.name("_id")
        if key in seen:
            row.problem(f"id {key!r} is already in line {seen[key]}")
        seen[key] = row.line
        found.append((key, row, row.text("text", may_be_empty=may_be_empty)))
    return found


def _read_qrels(
    source: Source, corpus: dict[str, Document], queries: set[str]
) -> tuple[dict[str, dict[str, int]], bool]:
    """Return grades by query and document, and whether the file judges only one split of the queries.

    BEIR's ``qrels/test.tsv`` does: BEIR's queries file holds the queries of all splits.
    """
    split_path, path = source.folder / "qrels" / f"{source.split}.tsv", source.folder / "qrels.tsv"
    is_split = source.split != "test" or (split_path.is_file() and not path.is_file())
    path = split_path if is_split else path
    qrels: dict[str, dict[str, int]] = {}
    if not path.is_file():
        source.problems.append(
            f"{source.folder}: {path.relative_to(source.folder)} is missing, which retrieval needs; "
            f"found {shown_entries(source.folder)}"
        )
        return qrels, is_split
    for judged in iter_judgements(path, source.problems):
        # A file without rows is already reported; otherwise every judgement would be reported too.
        if queries and judged.query not in queries:
            source.problems.append(f"{path}:{judged.line}: query {judged.query!r} is not among the queries")
        if corpus and judged.document not in corpus:
            source.problems.append(f"{path}:{judged.line}: document {judged.document!r} is not in the corpus")
        qrels.setdefault(judged.query, {})[judged.document] = judged.grade
    if not qrels:
        source.problems.append(f"{path}: holds no judgements")
    return qrels, is_split
