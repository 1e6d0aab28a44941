"""What a second call of a study says: where it goes on, what changed under it; what a stop leaves; what it reruns."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import toys
from poolwise.config import Recipe, build_recipe
from poolwise.errors import PoolwiseError
from poolwise.jobs import Job, Progress, load_state
from poolwise.models import attention
from poolwise.study.inputs import load_inputs
from poolwise.study.plan import plan_jobs, study_hash
from poolwise.study.study import run_study
from tiny_models import save_tiny_base


class Listener(Progress):
    """Keeps notes and what ran; raises KeyboardInterrupt where it is told to."""

    def __init__(self, stop: Callable[[Job, int], bool] = lambda job, done: False) -> None:
        self.notes: list[str] = []
        self.ran: list[str] = []
        self.details: list[str] = []
        self.stop = stop

    def note(self, message: str) -> None:
        self.notes.append(message)

    def job_started(self, job: Job) -> None:
        self.ran.append(job.label)

    def job_advanced(self, job: Job, done: int, total: int, detail: str) -> None:
        self.details.append(f"{job.label}: {done}/{total} {detail}")
        if self.stop(job, done):
            raise KeyboardInterrupt


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return build_recipe(
        {
            "name": "toy",
            "base": save_tiny_base(tmp_path / "base", "gpt2"),
            "designs": ["mean+causal", "last+causal"],
            "reference": "mean+causal",
            "seeds": [0],
            "data": {"train": [str(toys.write_training(tmp_path / "train.jsonl"))]},
            "train": {"steps": 4, "batch_size": 4, "max_tokens": 24, "save_steps": 1},
            "eval": {"max_tokens": 24},
            "tasks": [str(toys.write_suite(tmp_path / "suite") / "sts")],
            "anchors": ["bm25"],
        }
    )


def run(recipe: Recipe, out: Path, **options) -> Listener:
    listener = Listener(**options)
    run_study(recipe, out, listener, workers=1)
    return listener


def test_a_stop_says_what_is_saved_and_the_next_call_from_where_it_goes_on(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stopped = Listener(stop=lambda job, done: job.label == "train last+causal, seed 0" and done == 3)
    with pytest.raises(KeyboardInterrupt):
        run_study(recipe, out, stopped, workers=1)
    assert not any("resuming" in note for note in stopped.notes)
    saved = f"saved in {out}: 3 of 5 jobs; train last+causal, seed 0 up to step 2 of 4"
    assert stopped.notes[-1] == f"{saved}; the same command goes on from there"
    again = run(recipe, out)
    assert "resuming: 3 of 5 jobs are done; train last+causal, seed 0 continues from step 2 of 4" in again.notes
    assert again.ran == ["train last+causal, seed 0", "eval last+causal, seed 0"]
    assert again.details[0] == "train last+causal, seed 0: 2/4 resuming from step 2"
    assert run(recipe, out).notes == ["every job is done already; writing the report again from the records"]


def test_what_changed_under_a_study_is_said_and_only_what_depends_on_it_runs_again(
    recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = run_study(recipe, out, workers=1).results
    before = load_inputs(recipe).hashes
    pairs = tmp_path / "suite" / "sts" / "toy-sts" / "test.jsonl"
    pairs.write_text(pairs.read_text().replace("the cat", "one cat"))
    again = run(recipe, out)
    after = load_inputs(recipe).hashes
    (change,) = [note for note in again.notes if "changed since" in note]
    assert change == (
        f"task sts/toy-sts changed since this study began: fingerprint {before.tasks['sts/toy-sts']} -> "
        f"{after.tasks['sts/toy-sts']}; jobs that depend on it run again, other finished jobs are kept"
    )
    assert not any(label.startswith("train") for label in again.ran)
    assert sum(label.startswith("eval") for label in again.ran) == 2
    config = tmp_path / "base" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"note": 1}))
    again = run(recipe, out)
    assert any(
        note.startswith(f"base changed since this study began: fingerprint {after.base} ->") for note in again.notes
    )
    assert sum(label.startswith("train") for label in again.ran) == 2
    old = plan_jobs(recipe, before)
    assert all(load_state(out, job) is not None for job in old)  # kept
    second = json.loads((out / "results.json").read_text())["results"]
    assert second["recipe"] == first.recipe and second["recipe_hash"] != first.recipe_hash


def test_the_hash_of_a_study_covers_what_its_names_point_to(recipe: Recipe, tmp_path: Path) -> None:
    hashes = load_inputs(recipe).hashes
    changed = [
        replace(hashes, base="x"),
        replace(hashes, data=dict.fromkeys(hashes.data, "x")),
        replace(hashes, tasks=dict.fromkeys(hashes.tasks, "x")),
        replace(hashes, dev={"sts/dev": "x"}),
        replace(hashes, adapt_texts="x"),
    ]
    found = [study_hash(recipe, one) for one in [hashes, *changed]]
    found.append(study_hash(recipe.model_copy(update={"seeds": [1]}), hashes))
    assert len(set(found)) == len(found)
    assert study_hash(recipe.model_copy(update={"name": "other"}), hashes) == found[0]


def test_a_study_repeats_no_probe_of_a_model_and_no_hash_of_its_base(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[str] = []
    hashed: list[str] = []
    probe, digest = attention.probe_attention, hashlib.file_digest
    now = [""]
    monkeypatch.setattr(attention, "probe_attention", lambda model: (probes.append(now[0]), probe(model))[1])
    monkeypatch.setattr(hashlib, "file_digest", lambda file, kind: (hashed.append(file.name), digest(file, kind))[1])

    class Naming(Listener):
        def job_started(self, job: Job) -> None:
            now[0] = job.label

    run_study(recipe, tmp_path / "out", Naming(), workers=1)
    assert probes.count("train mean+causal, seed 0") == 2  # built; trained
    assert probes.count("eval mean+causal, seed 0") == 1  # loaded
    times = Counter(name for name in hashed if Path(name).parent == tmp_path / "base")
    assert times[str(tmp_path / "base" / "model.safetensors")] == 1 and set(times.values()) == {1}


def test_files_that_changed_after_their_job_are_not_used_and_the_results_stay(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = run_study(recipe, out, workers=1).results
    mean, last = (next((out / "runs").glob(f"{name}+causal-s0-*")) for name in ("mean", "last"))
    weights, other = (next((folder / "model").rglob("adapter_model.safetensors")) for folder in (mean, last))
    weights.write_bytes(other.read_bytes())  # another adapter
    items = next((last / "items").rglob("*.json.gz"))
    shutil.copy(next((mean / "items").rglob("*.json.gz")), items)  # the scores of another job
    again = run(recipe, out)
    named = [note for note in again.notes if note.endswith("runs again")]
    for path in (weights, items):
        assert any(str(path) in note for note in named)
    assert "train last+causal, seed 0" not in again.ran and "train mean+causal, seed 0" in again.ran
    assert json.loads((out / "results.json").read_text())["results"] == before.model_dump(mode="json")
    (mean / "training.jsonl").write_text("")
    (out / "study.json").write_text("{}")
    with pytest.raises(PoolwiseError, match=r"study\.json"):
        run(recipe, out)
