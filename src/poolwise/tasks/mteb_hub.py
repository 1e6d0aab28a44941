"""Loads MTEB tasks by name: mteb loads the data, which becomes the same kind of task as that of a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from poolwise.config import Prompts
from poolwise.errors import DataError, nearest
from poolwise.hub import hub_access
from poolwise.prompts import MTEB_TYPES
from poolwise.records import METRICS, Category
from poolwise.tasks import bridge
from poolwise.tasks.classification import ClassificationTask
from poolwise.tasks.clustering import ClusteringTask
from poolwise.tasks.dependence import groups_by_documents, groups_by_text
from poolwise.tasks.pairs import PairTask
from poolwise.tasks.ranking import Document, RankingTask, titles_and_texts
from poolwise.tasks.task import Task
from poolwise.upstream.mteb import known_tasks, query_texts


def load_mteb(name: str, prompts: Mapping[Category, Prompts]) -> Task:
    """Return the English test split of an MTEB task.

    Raises: DataError where the name is unknown (with the nearest), the type of task is not supported, or the hub
    cannot be reached.
    """
    with bridge.isolated():
        source = _find(name)
        category = next((key for key, kind in MTEB_TYPES.items() if kind == source.metadata.type), None)
        if category is None or source.metadata.modalities != ["text"]:
            kind = f"{source.metadata.type} of {', '.join(source.metadata.modalities)}"
            raise DataError(f"mteb:{name} is {kind}", f"wanted a text task of type {', '.join(MTEB_TYPES.values())}")
        _download(source, name)
        common = {
            "name": f"{category}/{name}",
            "category": category,
            "metric": METRICS[category],
            "prompts": prompts.get(category, Prompts()),
        }
        task = CONVERTERS[category](source, _splits(source), common)
    if found := task.problems():
        raise DataError(f"mteb:{name}: {found[0]}", hint="this task cannot be scored")
    return task


def _find(name: str) -> Any:
    import mteb

    known = known_tasks()
    if name not in known:
        raise DataError(f"MTEB has no task {name!r}", hint=nearest(name, known))
    metadata = known[name]
    if "eng" not in metadata.languages:
        raise DataError(f"mteb:{name} is in {', '.join(metadata.languages[:5])}", "wanted a task in English")
    if not metadata.is_multilingual:
        return mteb.get_task(name)
    english = {key: langs for key, langs in metadata.eval_langs.items() if any(x.startswith("eng") for x in langs)}
    return mteb.get_task(name, hf_subsets=[min(english, key=lambda key: len(english[key]))])


def _download(source: Any, name: str) -> None:
    try:
        with hub_access():
            source.load_data()
    except OSError as error:
        raise DataError(
            f"cannot fetch mteb:{name}: {type(error).__name__}",
            "wanted a network, or the data set in the Hugging Face cache",
            "put the task into a folder (docs: layouts of a task folder) and give that folder",
        ) from error
    if hasattr(source, "convert_v1_dataset_format_to_v2"):
        source.convert_v1_dataset_format_to_v2(num_proc=None)


def _splits(source: Any) -> Any:
    subset = source.hf_subsets[0]
    return source.dataset.get(subset, source.dataset)


def _test(source: Any, splits: Any) -> Any:
    names = list(source.metadata.eval_splits)
    return splits["test" if "test" in names else names[0]]


def _ids(rows: Sequence[object]) -> tuple[str, ...]:
    return tuple(str(place) for place in range(len(rows)))


def _pairs(source: Any, splits: Any, common: dict[str, Any]) -> PairTask:
    rows = _test(source, splits)
    if common["category"] == "sts":
        columns = (*source.column_names, "score")
    else:
        columns = (source.input1_column_name, source.input2_column_name, source.label_column_name)
        # Old data sets have one row with long lists.
        rows = rows[0] if len(rows) == 1 else rows
    first, second, gold = (list(rows[column]) for column in columns)
    return PairTask(
        first=tuple(first),
        second=tuple(second),
        gold=tuple(map(float, gold)),
        ids=_ids(first),
        num_total=len(first),
        group=groups_by_text(common["name"], first, second),
        **common,
    )


def _classification(source: Any, splits: Any, common: dict[str, Any]) -> ClassificationTask:
    if source.is_cross_validation or type(source.evaluator_model).__name__ != "LogisticRegression":
        raise DataError(
            f"mteb:{source.metadata.name} is not a logistic regression on a train split", hint="give another task"
        )
    test, train = _test(source, splits), splits[source.train_split]
    texts = tuple(test[source.input_column_name])
    return ClassificationTask(
        items=texts,
        labels=tuple(map(str, test[source.label_column_name])),
        train_texts=tuple(train[source.input_column_name]),
        train_labels=tuple(map(str, train[source.label_column_name])),
        samples_per_label=source.samples_per_label,
        num_experiments=source.n_experiments,
        ids=_ids(texts),
        num_total=len(texts),
        group=groups_by_text(common["name"], texts),
        **common,
    )


def _clustering(source: Any, splits: Any, common: dict[str, Any]) -> ClusteringTask:
    """Return all rows. In the old layout (a row is a sample of one pool), each (text, label) is kept once; of nested
    labels, the outermost."""
    rows = _test(source, splits)
    texts, labels = list(rows[source.input_column_name]), list(rows[source.label_column_name])
    if texts and isinstance(texts[0], list):
        pool = dict.fromkeys(
            pair for some, names in zip(texts, labels, strict=True) for pair in zip(some, names, strict=True)
        )
        texts, labels = [text for text, _ in pool], [label for _, label in pool]
    return ClusteringTask(
        items=tuple(texts),
        labels=tuple(str(label[0] if isinstance(label, list) else label) for label in labels),
        ids=_ids(texts),
        num_total=len(texts),
        group=groups_by_text(common["name"], texts),
        **common,
    )


def _ranking(source: Any, splits: Any, common: dict[str, Any]) -> RankingTask:
    data = _test(source, splits)
    texts = dict(zip(data["queries"]["id"], query_texts(data["queries"]), strict=True))
    qrels = {query: dict(grades) for query, grades in data["relevant_docs"].items() if grades and query in texts}
    titles = data["corpus"]["title"] if "title" in data["corpus"].column_names else [""] * len(data["corpus"])
    rows = zip(data["corpus"]["id"], titles, data["corpus"]["text"], strict=True)
    corpus = {key: Document(title or "", text) for key, title, text in rows}
    ids = tuple(query for query in texts if query in qrels)
    ranked = data["top_ranked"]
    queries = tuple(texts[query] for query in ids)
    return RankingTask(
        queries=queries,
        corpus=corpus,
        qrels={query: qrels[query] for query in ids},
        candidates=ranked and {query: tuple(ranked[query]) for query in ids},
        ignore_identical_ids=source.ignore_identical_ids,
        ids=ids,
        num_total=len(ids),
        group=groups_by_documents(common["name"], ids, queries, qrels, titles_and_texts(corpus)),
        **common,
    )


CONVERTERS: dict[Category, Callable[[Any, Any, dict[str, Any]], Task]] = {
    "sts": _pairs,
    "pair_classification": _pairs,
    "classification": _classification,
    "clustering": _clustering,
    "retrieval": _ranking,
    "reranking": _ranking,
}
