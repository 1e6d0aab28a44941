"""Relevance judgements (TREC or BEIR), and the scores of rankings by them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from poolwise.errors import EvalError, collect
from poolwise.foreign.json_runs import is_json_path, load_json_grades
from poolwise.foreign.metrics import average_precision, ndcg
from poolwise.foreign.source import CUT, item_record, numbered_lines
from poolwise.records import METRICS, Category, ItemScores
from poolwise.storage.qrels import is_header, judgements_of, split_fields

GENERIC = {"qrels", "qrel", "test", "dev", "validation", "train", "default", "judgements"}
"""File and folder names that do not name the task; then the parent folder does."""

Rankings = Mapping[str, Mapping[str, float]]
"""Query -> document -> score."""


@dataclass(frozen=True)
class Qrels:
    """The judgements of one task: query -> document -> grade."""

    name: str
    path: Path
    grades: Mapping[str, Mapping[str, int]]

    @property
    def fingerprint(self) -> str:
        """A hash of the judgements; file and order do not matter."""
        rows = sorted((q, d, grade) for q, documents in self.grades.items() for d, grade in documents.items())
        return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def is_qrels_line(line: str) -> bool:
    """Return whether a line is ``qid 0 docid grade``, ``qid docid grade``, or the header of such a table."""
    fields = split_fields(line)
    if len(fields) not in (3, 4):
        return False
    is_known_head = fields[0].lower().replace("_", "-") in ("query-id", "qid", "query")
    return fields[-1].lstrip("-").isdigit() or (is_known_head and is_header(fields))


def load_qrels(path: Path) -> Qrels:
    """Return the judgements of a file: JSON, or text in UTF-8 or UTF-16.

    Raises: EvalError where it cannot be read, lines are not judgements, two grades of a document differ, or nothing is
        judged relevant.
    """
    grades: dict[str, dict[str, int]] = {}
    problems: list[str] = []
    if is_json_path(path):
        grades = load_json_grades(path)
    else:
        for judged in judgements_of(numbered_lines(path), path, problems):
            grades.setdefault(judged.query, {})[judged.document] = judged.grade
    collect(problems, EvalError, f"{path} is not a valid file of relevance judgements", CUT)
    if not any(grade > 0 for documents in grades.values() for grade in documents.values()):
        raise EvalError(f"{path} judges no document relevant", hint=CUT)
    return Qrels(_task_name(path), path, grades)


def _task_name(path: Path) -> str:
    resolved = path.resolve()
    names = [resolved.name.split(".")[0], *(parent.name for parent in resolved.parents)]
    return next((name for name in names if name and name.lower() not in GENERIC), "task")


def match_qrels(rankings: Rankings, name: str, everyone: Sequence[Qrels], path: Path) -> Qrels:
    """Return the judgements for a ranking: those with the name of its task, else those that share most queries.

    Raises: EvalError where there are none, none matches, or two match equally well.
    """
    if not everyone:
        raise EvalError(f"{path} is a ranking without relevance judgements", hint="give --qrels FILE")
    shared = {number: len(qrels.grades.keys() & rankings.keys()) for number, qrels in enumerate(everyone)}
    fitting = [number for number, count in shared.items() if count]
    named = [number for number in fitting if name and everyone[number].name.lower() == name.lower()]
    fitting = named or [number for number in fitting if shared[number] == max(shared.values())]
    if not fitting:
        known, asked = next(iter(everyone[0].grades)), next(iter(rankings), "none")
        raise EvalError(
            f"{path} shares no query with {', '.join(str(qrels.path) for qrels in everyone)}",
            f"wanted query ids such as {known!r}, not {asked!r}",
            "give the --qrels of this task",
        )
    if len(fitting) > 1:
        names = ", ".join(str(everyone[number].path) for number in fitting)
        raise EvalError(f"{path} matches {names} equally well", hint="give the judgements the name of the task")
    return everyone[fitting[0]]


def score_rankings(
    rankings: Rankings, qrels: Qrels, model: str, category: Category = "retrieval"
) -> tuple[ItemScores, list[str]]:
    """Return one score per judged query (0 if the ranking lacks it), and notes on missing and unused queries.

    Args:
        model: its name, for the notes on its own ranking. Notes on the judgements are the same for every model.
    """
    measure = average_precision if category == "reranking" else ndcg
    values = {query: measure(rankings.get(query, {}), grades) for query, grades in sorted(qrels.grades.items())}
    group = _groups(qrels.name, list(values), qrels.grades)
    record = item_record(f"{category}/{qrels.name}", category, METRICS[category], values, qrels.fingerprint, group)
    missing = [query for query in values if query not in rankings]
    unjudged = [query for query in rankings if query not in values]
    hopeless = [query for query, grades in qrels.grades.items() if not any(grade > 0 for grade in grades.values())]
    task, notes = record.task, []
    if group:
        notes.append(f"{task}: queries that share a relevant document are kept together: {len(set(group))} groups")
    if hopeless:
        notes.append(f"{task}: {len(hopeless)} judged queries have no relevant document and score 0 for every model")
    if missing:
        lacking = f"{len(missing)} of {len(values)} judged queries are missing ({_some(missing)}) and score 0"
        notes.append(f"{model}, {task}: {lacking}")
    if unjudged:
        notes.append(f"{model}, {task}: {len(unjudged)} queries without judgements are left out ({_some(unjudged)})")
    return record, notes


def _groups(name: str, queries: Sequence[str], grades: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return a group per query: those with a common relevant document depend on each other; empty if there are none."""
    from poolwise.tasks.dependence import groups_by_documents

    documents = {document: ("", document) for judged in grades.values() for document in judged}
    return list(groups_by_documents(name, queries, queries, grades, documents))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
