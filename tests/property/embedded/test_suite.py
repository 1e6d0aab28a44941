"""Laws of the embedded data, on what this Python's library really gives."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from poolwise.embedded.pydoc import build_all, write_pydoc
from poolwise.embedded.pydoc_labelled import SAMPLES_PER_LABEL
from poolwise.embedded.pydoc_read import Entry, read_library
from poolwise.embedded.pydoc_text import NearDuplicates, normalise
from poolwise.embedded.pydoc_train import split_entries
from poolwise.records import METRICS

BUILD = """
import sys
from pathlib import Path
from poolwise.embedded.pydoc import write_pydoc
from poolwise.embedded.pydoc_read import read_library
write_pydoc(Path(sys.argv[1]), read_library())
"""


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return read_library()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]) -> Path:
    folder = tmp_path_factory.mktemp("pydoc")
    write_pydoc(folder, entries)
    return folder


def rows_of(path: Path) -> list[dict[str, object]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def tasks_of(built: Path, category: str = "*") -> list[Path]:
    return sorted((built / "eval").glob(f"{category}/*"))


def texts_of(folder: Path) -> list[str]:
    rows = [row for path in folder.rglob("*.jsonl.gz") for row in rows_of(path)]
    return [str(row[name]) for row in rows for name in ("text", "sentence1", "sentence2") if name in row]


def trained(built: Path) -> list[str]:
    names = ("query", "positive", "negative")
    return [str(row[name]) for row in rows_of(built / "train.jsonl.gz") for name in names if name in row]


def test_every_category_has_three_tasks(built: Path) -> None:
    counts = Counter(task.parent.name for task in tasks_of(built))
    assert counts == {"sts": 3, "retrieval": 3, "classification": 3, "clustering": 3}


def test_settings_name_category_and_metric(built: Path) -> None:
    for task in tasks_of(built):
        settings = yaml.safe_load((task / "task.yaml").read_text())
        assert settings["category"] == task.parent.name
        assert settings["metric"] == METRICS[settings["category"]]


def test_modules_of_training_and_evaluation_are_disjoint(entries: list[Entry]) -> None:
    training, evaluation = split_entries(entries)
    assert not {entry.family for entry in training} & {entry.family for entry in evaluation}
    assert len(training) + len(evaluation) == len(entries)
    assert len({entry.key for entry in entries}) == len(entries)


def test_no_training_text_is_near_an_evaluation_text(built: Path) -> None:
    evaluation = [text for task in tasks_of(built) for text in texts_of(task)]
    exact, near = {normalise(text) for text in evaluation}, NearDuplicates(evaluation)
    assert not [text for text in trained(built) if normalise(text) in exact or text in near]


def test_no_text_is_empty(built: Path) -> None:
    assert all(normalise(text) for task in tasks_of(built) for text in texts_of(task))
    assert all(normalise(text) for text in trained(built))


def test_training_rows_are_many_and_distinct(built: Path) -> None:
    rows = rows_of(built / "train.jsonl.gz")
    assert len(rows) >= 4000
    assert len({(normalise(str(row["query"])), normalise(str(row["positive"]))) for row in rows}) == len(rows)
    assert sum("negative" in row for row in rows) > 0.9 * len(rows)
    assert all(normalise(str(row["positive"])) != normalise(str(row.get("negative", ""))) for row in rows)


def test_retrieval_ids_are_unique_and_judgements_point_to_them(built: Path) -> None:
    for task in tasks_of(built, "retrieval"):
        corpus, queries = rows_of(task / "corpus.jsonl.gz"), rows_of(task / "queries.jsonl.gz")
        documents, asked = {row["_id"] for row in corpus}, {row["_id"] for row in queries}
        assert len(documents) == len(corpus) and len(asked) == len(queries)
        with (task / "qrels.tsv").open() as file:
            judged = list(csv.DictReader(file, delimiter="\t"))
        assert {row["query-id"] for row in judged} == asked
        assert {row["corpus-id"] for row in judged} <= documents
        assert 200 <= len(queries) <= 300 <= len(corpus) <= 600
        assert len({row["text"] for row in corpus}) == len(corpus)


@pytest.mark.parametrize("category", ["classification", "clustering"])
def test_labels_are_several_and_balanced(built: Path, category: str) -> None:
    for task in tasks_of(built, category):
        counts = Counter(row["label"] for row in rows_of(task / "test.jsonl.gz"))
        assert len(counts) >= 4, task
        assert max(counts.values()) <= 3 * min(counts.values()), task
        assert 250 <= counts.total() <= 600, task


def test_classification_splits_share_labels_and_no_text(built: Path) -> None:
    for task in tasks_of(built, "classification"):
        train, test = rows_of(task / "train.jsonl.gz"), rows_of(task / "test.jsonl.gz")
        counts = Counter(row["label"] for row in train)
        assert set(counts) == {row["label"] for row in test}
        assert min(counts.values()) >= SAMPLES_PER_LABEL
        near = NearDuplicates(str(row["text"]) for row in train)
        assert not [row["text"] for row in test if str(row["text"]) in near]


def test_sts_scores_are_the_mean_of_two_grades_and_fill_the_scale(built: Path) -> None:
    pairs = [row for task in tasks_of(built, "sts") for row in rows_of(task / "test.jsonl.gz")]
    assert len(pairs) >= 150
    assert len({(row["sentence1"], row["sentence2"]) for row in pairs}) == len(pairs)
    for row in pairs:
        assert row["score"] == (float(row["grade1"]) + float(row["grade2"])) / 2  # type: ignore[arg-type]
        assert all(0 <= float(row[name]) <= 5 and float(row[name]) * 2 % 1 == 0 for name in ("grade1", "grade2"))  # type: ignore[arg-type]
    rounded = Counter(round(float(row["score"])) for row in pairs)  # type: ignore[arg-type]
    assert set(rounded) == {0, 1, 2, 3, 4, 5} and min(rounded.values()) >= 15


def test_two_builds_give_the_same_bytes(built: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", BUILD, str(tmp_path)], check=True, env=environment)
    files = {path.relative_to(built): path.read_bytes() for path in built.rglob("*") if path.is_file()}
    again = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files.keys() == again.keys()
    assert [name for name in files if files[name] != again[name]] == []


def test_order_of_entries_does_not_matter(entries: list[Entry]) -> None:
    part = entries[::8]
    assert build_all(part) == build_all(part[::-1])
