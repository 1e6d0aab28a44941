"""What a worker is sent, what it loads for itself, and that it notices what changed since the plan was made."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import toys
from poolwise.config import Recipe, build_recipe
from poolwise.data import save_schedule
from poolwise.errors import DataError
from poolwise.study import worker_inputs
from poolwise.study.inputs import StudyInputs, load_inputs, schedule_path
from poolwise.study.perform import open_work, perform_job
from poolwise.study.plan import plan_jobs
from poolwise.study.worker_inputs import WorkerInputs
from tiny_models import save_tiny_base

LEAST_TEXTS = 100


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    suite = toys.write_suite(tmp_path / "suite")
    pairs = suite / "sts" / "toy-sts"
    rows = (pairs / "test.jsonl").read_text().splitlines()
    (pairs / "dev.jsonl").write_text("\n".join(reversed(rows)).replace("the ", "this "))
    return build_recipe(
        {
            "name": "toy",
            "base": save_tiny_base(tmp_path / "base", "gpt2", with_head=True),
            "designs": ["mean+causal", "mean+bidirectional"],
            "reference": "mean+causal",
            "seeds": [0, 3],
            "data": {"train": [str(toys.write_training(tmp_path / "train.jsonl"))]},
            "train": {"steps": 2, "batch_size": 4, "max_tokens": 24},
            "eval": {"max_tokens": 24},
            "adapt": {"max_tokens": 24},
            "tune": {"learning_rate": [1e-4, 1e-3], "steps": 1, "dev": [str(suite / "sts/toy-sts@dev")]},
            "tasks": [str(suite)],
        }
    )


def planned(recipe: Recipe, out: Path) -> tuple[StudyInputs, WorkerInputs]:
    inputs = load_inputs(recipe)
    for seed, schedule in inputs.schedules.items():
        save_schedule(schedule, schedule_path(out, seed))
    return inputs, WorkerInputs(recipe, inputs.hashes, out)


def test_a_worker_finds_what_the_plan_was_made_of(recipe: Recipe, tmp_path: Path) -> None:
    ours, theirs = planned(recipe, tmp_path / "out")
    for name in ("base", "triples", "source_category", "prompts", "schedules", "hashes"):
        assert getattr(theirs, name) == getattr(ours, name), name
    assert list(theirs.adapt_texts) == list(ours.adapt_texts) and len(ours.adapt_texts) > LEAST_TEXTS
    for name in ("tasks", "dev"):
        assert [task.fingerprint for task in getattr(theirs, name)] == [t.fingerprint for t in getattr(ours, name)]
    assert theirs.on_base("other").base == ours.on_base("other").base == "other"
    assert theirs.on_base("other").tasks is theirs.tasks  # what is loaded is shared


def test_a_worker_is_sent_names_and_no_texts(recipe: Recipe, tmp_path: Path) -> None:
    inputs, _ = planned(recipe, tmp_path / "out")
    jobs = tuple(plan_jobs(recipe, inputs.hashes))
    sent = pickle.dumps(partial(open_work, perform_job, jobs, recipe, inputs.hashes, tmp_path / "out"))
    assert inputs.triples[0].positive.encode() not in sent
    assert len(sent) < 1000 + 500 * len(jobs)
    assert callable(pickle.loads(sent)())


def test_only_what_is_asked_for_is_loaded_and_once(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, theirs = planned(recipe, tmp_path / "out")
    loaded: list[str] = []

    def counted(name: str):
        load = getattr(worker_inputs, name)
        return lambda *args: (loaded.append(name), load(*args))[1]

    for name in ("load_training", "load_evaluation", "load_dev", "load_schedule", "base_hash"):
        monkeypatch.setattr(worker_inputs, name, counted(name))
    assert theirs.hashes.base and theirs.prompts == {} and loaded == []
    assert theirs.tasks and theirs.on_base("other").tasks
    assert loaded == ["load_evaluation"]
    assert theirs.triples and theirs.triples and theirs.base and theirs.base
    assert loaded == ["load_evaluation", "load_training", "base_hash"]


def test_what_changed_since_the_plan_is_named(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    planned(recipe, out)

    def again() -> WorkerInputs:
        return WorkerInputs(recipe, hashes, out)

    hashes = load_inputs(recipe).hashes
    toys.write_rows(tmp_path / "train.jsonl", [{"query": f"q{i}", "positive": f"p{i}"} for i in range(20)])
    with pytest.raises(DataError, match=r"training data .*\.jsonl changed while the study ran: fingerprint \w+ ->"):
        _ = again().triples
    retrieval = tmp_path / "suite" / "retrieval" / "toy-search" / "corpus.jsonl"
    retrieval.write_text(retrieval.read_text().replace("All about", "Nothing about"))
    with pytest.raises(DataError, match="task retrieval/toy-search changed") as caught:
        _ = again().tasks
    assert "toy-sts" not in str(caught.value)
    tokenizer = tmp_path / "base" / "tokenizer_config.json"
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()) | {"note": 1}))
    with pytest.raises(DataError, match=r"base .*base changed"):
        _ = again().base
    hashes = replace(hashes, schedules={0: "other", 3: hashes.schedules[3]})
    with pytest.raises(DataError, match="batch schedule seed 0 changed"):
        _ = again().schedules
