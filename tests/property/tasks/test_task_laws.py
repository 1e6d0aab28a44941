"""What holds for every category of task."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, v_measure_score

from poolwise.config import Prompts
from poolwise.encoding.encoder import RandomEncoder
from poolwise.records import CATEGORIES, Category, ItemScores
from poolwise.tasks import Task, evaluate_task, load_tasks
from poolwise.tasks.subset import stratified_rows
from unit.tasks.tiny import write_suite

every_category = pytest.mark.parametrize("category", CATEGORIES)
SIZE = 30


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[Category, Task]:
    return {task.category: task for task in load_tasks([str(write_suite(tmp_path_factory.mktemp("suite"), SIZE))])}


def recomputed(record: ItemScores) -> float:
    if record.category == "sts":
        return float(spearmanr(record.values, record.gold)[0])
    if record.category == "pair_classification":
        return float(average_precision_score(record.gold, record.values))
    if record.category == "clustering":
        return float(np.mean([v_measure_score(record.gold, row) for row in record.assignments]))
    return float(np.mean(record.values))


class OnlyAnnounced:
    """An encoder that knows no text but those the task named beforehand."""

    def __init__(self, task: Task) -> None:
        self.known, self.asked = set(task.texts()), set[tuple[str, str]]()

    def encode(self, texts: Sequence[str], prompt: str) -> np.ndarray:
        keys = {(prompt, text) for text in texts}
        assert keys <= self.known
        self.asked |= keys
        return RandomEncoder(16).encode(texts, prompt)


@every_category
def test_the_score_follows_from_the_items(tasks: dict[Category, Task], category: Category) -> None:
    record = evaluate_task(tasks[category], RandomEncoder(16))
    assert record.score == pytest.approx(recomputed(record), abs=1e-9)
    assert record.num_items == record.num_total == SIZE
    assert ItemScores.model_validate_json(record.model_dump_json()) == record


@every_category
def test_an_evaluation_repeats_bit_for_bit(tasks: dict[Category, Task], category: Category) -> None:
    first = evaluate_task(tasks[category], RandomEncoder(16))
    evaluate_task(tasks["clustering"], RandomEncoder(16, seed=1))
    assert evaluate_task(tasks[category], RandomEncoder(16)) == first


@every_category
def test_texts_are_all_that_is_asked_for(tasks: dict[Category, Task], category: Category) -> None:
    task = dataclasses.replace(tasks[category], prompts=Prompts(query="q: ", document="d: "))
    encoder = OnlyAnnounced(task)
    evaluate_task(task, encoder)
    assert encoder.asked == encoder.known
    sides = {"q: ", "d: "} if category in ("retrieval", "reranking") else {"q: "}
    assert {prompt for prompt, _ in encoder.asked} == sides


@every_category
def test_a_cap_takes_the_same_items_every_time(tasks: dict[Category, Task], category: Category) -> None:
    task = tasks[category]
    capped = task.capped(10, 0)
    assert capped.fingerprint == task.capped(10, 0).fingerprint
    assert len(capped.ids) == 10 and set(capped.ids) < set(task.ids)
    assert (capped.num_total, capped.settings["max_items"], capped.settings["subset_seed"]) == (SIZE, 10, 0)
    assert len({task.capped(10, seed).ids for seed in range(4)}) == 4
    record = evaluate_task(capped, RandomEncoder(16))
    assert record.ids == list(capped.ids)
    assert record.score == pytest.approx(recomputed(record), abs=1e-9)


# A document's rank in a corpus and a row's cluster depend on the other items.
@pytest.mark.parametrize("category", sorted(set(CATEGORIES) - {"retrieval", "clustering"}))
def test_an_item_keeps_its_texts_and_value_under_a_cap(tasks: dict[Category, Task], category: Category) -> None:
    whole = evaluate_task(tasks[category], RandomEncoder(16))
    part = evaluate_task(tasks[category].capped(10, 0), RandomEncoder(16))
    values = dict(zip(whole.ids, whole.values, strict=True))
    assert part.values == pytest.approx([values[item] for item in part.ids], abs=1e-6)


@every_category
def test_the_fingerprint_sees_every_change(tmp_path: Path, category: Category) -> None:
    root = write_suite(tmp_path)
    (task,) = load_tasks([str(root / category)])
    (same,) = load_tasks([str(root / category)])
    assert same.fingerprint == task.fingerprint
    changed = {task.fingerprint, task.capped(5, 0).fingerprint, task.capped(5, 1).fingerprint}
    (prompted,) = load_tasks([str(root / category)], prompts={category: Prompts(query="q: ")})
    changed.add(prompted.fingerprint)
    path = next((root / category / "tiny").glob("[ct][oe]*.jsonl*"))
    raw = path.read_bytes()
    text = gzip.decompress(raw) if path.suffix == ".gz" else raw
    edited = text.replace(b" 1", b" one", 1)
    assert edited != text
    path.write_bytes(gzip.compress(edited) if path.suffix == ".gz" else edited)
    (reread,) = load_tasks([str(root / category)])
    changed.add(reread.fingerprint)
    assert len(changed) == 5


@settings(deadline=None, max_examples=60)
@given(
    labels=st.lists(st.sampled_from("abcdef"), min_size=3, max_size=60).filter(lambda rows: len(set(rows)) > 1),
    size=st.integers(2, 59),
    seed=st.integers(0, 5),
)
def test_two_labels_in_two_labels_out(labels: list[str], size: int, seed: int) -> None:
    rows = stratified_rows(labels, size, np.random.default_rng(seed))
    assert len(rows) == min(size, len(labels))
    assert len({labels[row] for row in rows}) > 1
